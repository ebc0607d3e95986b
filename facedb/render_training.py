"""What training and tuning gave, as text."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from facedb.render import counted, percent, table
from facedb.typed import typed

if TYPE_CHECKING:
    from facedb.training.request import TrainReport
    from facedb.training.trials import TuneReport

_MEASURED = "measured: index lists the faces that are hard to recognise"
_UNMEASURED = "not measured ({}): faces that cannot be made out are enrolled and identified, too"


def training_text(report: TrainReport) -> str:
    """What training gave, beside what a thumbnail gives on the same photos.

    Where it began from an encoder, that one stands between the two.
    """
    run = PurePath(report.run)
    gallery = run.with_suffix(".gallery") if run.suffix else f"{run}.gallery"
    seen = ", people seen in training" if report.seen_in_training else ""
    lines = [
        f"trained on {report.photos} photos of {report.people} people, "
        f"{counted(report.epochs, 'epoch')}, the best was {report.best_epoch}; "
        f"{report.parameters:,} parameters",
        f"validated on {report.val_photos} photos of {report.val_people} people{seen}",
        "",
        _figures(report),
        "",
        *([report.verdict, ""] if report.verdict else []),
        *_threshold_text(report),
        "quality   " + (_UNMEASURED.format(report.no_quality) if report.no_quality else _MEASURED),
        f"report    {report.run}/report.html",
        f"encoder   {report.encoder}; use it: "
        + typed("index", "DIR", gallery=gallery, options=("--encoder", report.encoder)),
    ]
    return "\n".join(lines)


def _figures(report: TrainReport) -> str:
    from facedb.training.verdict import FIGURES

    beside = {"encoder": report.metrics}
    if report.begun is not None:
        beside["before"] = report.begun
    beside["16x16 grey"] = report.thumbnail
    names = {
        **FIGURES,
        "same_photo_rank1": "rank-1, its own photo in the gallery",
        "cross_photo_pair_accuracy": "pair accuracy at d < 0.5",
        "pair_accuracy": "pair accuracy at d < 0.5, as published",
    }
    rows = []
    for name, words in names.items():
        across = "across photos: " if name.startswith("cross") else "versions of a photo: "
        shown = [figures[name] for figures in beside.values()]
        rows.append(
            [across + words, *("-" if value is None else percent(value) for value in shown)]
        )
    return table(["figure", *beside], rows)


def _threshold_text(report: TrainReport) -> list[str]:
    from facedb.strangers import ENCODERS_FPIR

    if not report.threshold:
        return ["threshold none: nobody is accepted until facedb calibrate STRANGERS"]
    enrolled = f"with {report.gallery:,} of these people enrolled"
    lines = [
        f"threshold {report.threshold:.3f} {enrolled}: {100 * ENCODERS_FPIR:g} % of photos come as "
        "close",
        "          to somebody else; a gallery takes that of its own size",
    ]
    return [*lines, *([f"          {report.caveat}"] if report.caveat else [])]


def tuning_text(report: TuneReport) -> str:
    """What the trials gave, and the command that trains the best."""
    drawn = ", ".join(f"{name} {value:g}" for name, value in report.best.items())
    best = f"trial {report.best_trial}, {report.select} {report.best_value:.2%}: {drawn}"
    before = [f"before    {report.select} {report.begun:.2%}"] if report.begun is not None else []
    if report.begun is not None and report.best_value <= report.begun:
        before[0] += ": no trial made the encoder that they began from better"
    return "\n".join(
        [
            f"{report.trials} trials, {report.pruned} ended early, {report.failed} failed",
            f"best      {best}",
            *before,
            f"table     {report.out}/trials.csv",
            f"figures   {report.out}/history.png, {report.out}/parallel.png",
            f"train it  {report.command}",
        ]
    )
