"""Evaluations and calibrations -> text. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facedb.render import SHOWN, counted, percent, table

if TYPE_CHECKING:
    from facedb.evaluation.calibrate import CalibrationReport
    from facedb.evaluation.distortions import DistortionRow
    from facedb.evaluation.intervals import Interval
    from facedb.evaluation.lfw import LfwFigures
    from facedb.evaluation.protocol import EvaluationReport


def evaluation_text(report: EvaluationReport) -> str:
    """The figures of an evaluation."""
    lines = [
        _plain_words(report),
        f"{report.protocol}: {counted(report.identities, 'person', 'people')}, "
        f"{counted(report.templates, 'template')}; "
        f"{report.mated:,} mated and {report.non_mated:,} non-mated probes, {report.seconds:.1f} s",
    ]
    for k, share in report.rank.items():
        lines.append(f"rank-{k:<4} {percent(share)}{_between(report, f'rank-{k}')}")
    if report.macro_f1 is not None:
        lines.append(f"macro-F1  {percent(report.macro_f1)}")
    lines += _threshold_lines(report)
    lines += _dir_lines(report)
    if report.distortions:
        lines += ["", distortion_table(report.distortions)]
    if report.lfw is not None:
        lines += ["", *_lfw_lines(report.lfw)]
    if report.unused:
        lines.append(
            f"nobody here is enrolled in {report.unused}, which was not searched: each photo was "
            "among the others. How many of them it accepts: --strangers"
        )
    lines += _not_enrolled_lines(report)
    lines += _left_out_lines(report)
    return "\n".join(lines)


def _plain_words(report: EvaluationReport) -> str:
    """How often it is right, for who has not learned the terms."""
    parts = []
    if report.mated:
        least = min(report.rank)
        right, words = report.rank[least], "nearest to the right person"
        if report.tpir is not None:
            right, words = report.tpir, "named rightly"
        elif least > 1:
            words = f"with the right person among the {least} nearest"
        photos = counted(report.mated, "photo")
        alone = report.protocol == "leave-one-out"
        whose = "whose person has others here" if alone else "of people enrolled"
        parts.append(f"of {photos} {whose}, {round(right * report.mated):,} {words}")
    if report.fpir is not None:
        photos = counted(report.non_mated, "photo")
        named = round(report.fpir * report.non_mated)
        parts.append(f"of {photos} of strangers, {named:,} given a name")
    return "; ".join(parts) or "no photo here is of anybody enrolled, and no threshold decides"


def _not_enrolled_lines(report: EvaluationReport) -> list[str]:
    if not report.not_enrolled:
        return []
    shown = [
        f"{name} (did you mean {report.meant[name]}?)" if name in report.meant else name
        for name in sorted(report.not_enrolled, key=lambda name: name not in report.meant)[:SHOWN]
    ]
    more = len(report.not_enrolled) - SHOWN
    rest = f" and {more:,} more" if more > 0 else ""
    return [f"not enrolled, so counted as strangers: {', '.join(shown)}{rest}"]


def _threshold_lines(report: EvaluationReport) -> list[str]:
    if report.threshold is None:
        return ["no threshold: give one with --threshold to count acceptances"]
    lines = [f"at threshold {report.threshold:.3f}"]
    for name, share, words in (
        ("TPIR", report.tpir, "identified, of the mated probes"),
        ("FPIR", report.fpir, "accepted, of the non-mated probes"),
    ):
        if share is not None:
            between = _between(report, name.lower())
            lines.append(f"  {name} {percent(share)}  {words}{between}")
    return lines


def _dir_lines(report: EvaluationReport) -> list[str]:
    if not report.dir:
        few = "too few strangers to set a threshold by: an FPIR of 10 % takes 30 of them"
        return [few] if report.mated else []
    held = report.strangers == "held out"
    whose = "people held out in turn" if held else "non-mated probes"
    lines = [f"where the strangers set the threshold ({whose})"]
    for fpir, share in report.dir.items():
        between = _between(report, f"dir at {fpir:g}")
        lines.append(f"  DIR  {percent(share)}  at FPIR {100 * fpir:g} %{between}")
    return lines


def _between(report: EvaluationReport, name: str) -> str:
    interval = report.intervals.get(name)
    return "" if interval is None else f"  ({_range(interval)})"


def _range(interval: Interval) -> str:
    return f"{100 * interval.low:.2f} to {100 * interval.high:.2f} %"


def distortion_table(rows: tuple[DistortionRow, ...]) -> str:
    """The distortion matrix in columns."""
    heads = ["distortion", "probes", "same photo", "across photos", "DIR at 1 %", "at 10 %"]
    cells = [
        [
            row.kind,
            f"{row.probes:,}",
            *(
                "-" if share is None else percent(share).strip()
                for share in (row.same_photo, row.cross_photo, row.dir_1, row.dir_10)
            ),
        ]
        for row in rows
    ]
    return table(heads, cells)


def _lfw_lines(lfw: LfwFigures) -> list[str]:
    lines = []
    if lfw.pairs is not None:
        accuracy = lfw.pairs.accuracy
        mean = sum(accuracy) / len(accuracy)
        lines.append(
            f"pairs     {percent(mean)}  of {lfw.pairs.pairs:,}, {len(accuracy)} folds, "
            f"standard error {100 * lfw.pairs.accuracy_se:.2f} points; "
            f"AUC {lfw.pairs.auc:.4f}, EER {percent(lfw.pairs.eer).strip()}, "
            f"TMR {percent(lfw.pairs.tmr_at_fmr).strip()} at FMR 0.1 %"
        )
    shares = ", ".join(f"rank-{k} {percent(v).strip()}" for k, v in lfw.identification.rank.items())
    lines.append(
        f"identification  {lfw.identification.identities:,} people, "
        f"{lfw.identification.probes:,} probes: {shares}"
    )
    drawn = [figures.dir[0.01] for figures in lfw.resplits if 0.01 in figures.dir]
    if drawn:
        lines.append(
            f"open set drawn {len(drawn)} times: DIR at FPIR 1 % from "
            f"{percent(min(drawn)).strip()} to {percent(max(drawn)).strip()}"
        )
    return lines


def _left_out_lines(report: EvaluationReport) -> list[str]:
    lines = []
    if report.enrolled:
        one = "photo is in the gallery itself and was left out"
        many = "photos are in the gallery themselves and were left out"
        lines.append(counted(report.enrolled, one, many))
    if report.trained_on:
        one = "photo was left out: the encoder was trained on it"
        many = "photos were left out: the encoder was trained on them"
        lines.append(counted(report.trained_on, one, many))
    return lines + _failure_lines(report) + _unread_lines(report)


def _failure_lines(report: EvaluationReport) -> list[str]:
    lines = []
    if report.failures_to_enroll:
        lines.append(
            f"failures to enroll: {report.failures_to_enroll:,} of "
            f"{counted(report.identities, 'person', 'people')}, whose probes are misses"
        )
    mated, others = report.failures_to_acquire_mated, report.failures_to_acquire_non_mated
    if mated or others:
        lines.append(
            f"failures to acquire: {mated:,} of {report.mated:,} mated and {others:,} of "
            f"{report.non_mated:,} non-mated probes"
        )
    return lines


def _unread_lines(report: EvaluationReport | CalibrationReport) -> list[str]:
    refused = len(report.refused)
    return (
        [f"{counted(refused, 'photo')} could not be read, or showed no face that can be made out"]
        if refused
        else []
    )


def calibration_text(report: CalibrationReport) -> str:
    """A threshold and what it was measured on."""
    whose = "enrolled people, held out in turn" if report.held_out else "strangers"
    lines = [
        f"threshold {report.threshold:.3f}: accepts {percent(report.fpir).strip()} of "
        f"{report.strangers_photos:,} photos of {report.strangers:,} {whose} "
        f"({_range(report.interval)})",
        f"wanted: at most {100 * report.fpir_wanted:g} %; measured on {report.people:,} people, "
        f"{report.templates:,} templates, {report.aggregation}",
    ]
    if report.enrolled:
        one = "photo is of an enrolled person and was left out"
        many = "photos are of enrolled people and were left out"
        lines.append(counted(report.enrolled, one, many))
    return "\n".join(lines + _unread_lines(report))
