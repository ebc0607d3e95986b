"""Accuracy against pictures seen: every encoder that was ever bundled, and candidates, on LFW.

Claim: longer training still pays.
Method: the bundles come out of this repository's history, each of which began from the one before,
or has its weights behind another preprocessing; their crops are cut by today's bundled detector.
Development is LFW's peopleDevTrain (View 1, made for choosing models): people with up to half of
their photos enrolled, five draws. Whole is `evaluate_models.py` without distortions.

    python scripts/evaluate_line.py --cache runs/cache --candidate runs/best

A candidate is worth a place in the repository, which keeps every bundle for ever, where its DIR at
FPIR 1 % on the development people is a point or more above that of the last one.
"""

from __future__ import annotations

import json
import subprocess
from itertools import accumulate, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from command import Script
from evaluate_calibration import aggregation_figures, people_of
from evaluate_models import clean_figures, samples_of
from measuring import RESULTS, ROOT, SHARED, bundled_folder, circumstances, finish, table
from peers import crops_of, embedded
from ship_encoder import images_seen

from facedb.aggregation import DEFAULT_AGGREGATION
from facedb.encoder import open_encoder
from facedb.encoder.bundle import CARD, GRAPH, WEIGHTS, read_bundle
from facedb.evaluation.samples import Samples
from facedb.faces import open_detector


def bundles_of_history(folder: Path) -> list[Path]:
    """Every committed encoder, written out below the folder, the first one first.

    Commits that changed no more than an encoder's graph or card count as one.
    """
    place = bundled_folder().relative_to(ROOT).as_posix()
    files = [f"{place}/{name}" for name in (WEIGHTS, GRAPH)]
    bundles: dict[str, Path] = {}
    for commit in git("log", "--reverse", "--format=%h", "--", *files).decode().split():
        bundle = folder / commit
        bundle.mkdir()
        for name in (CARD, GRAPH, WEIGHTS):
            (bundle / name).write_bytes(git("show", f"{commit}:{place}/{name}"))
        bundles[read_bundle(bundle).fingerprint] = bundle
    return list(bundles.values())


def git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True).stdout


def pictures_of(bundles: list[Path]) -> list[int]:
    """How many pictures each saw since the one before: none, where it has the same weights."""
    cards = [json.loads((bundle / CARD).read_text(encoding="utf-8")) for bundle in bundles]
    return [
        0
        if before and before["weights_sha256"] == card["weights_sha256"]
        else int(card["training"]["images_seen"])
        for before, card in pairwise([None, *cards])
    ]


def figures_of(samples: Samples, lfw: Path) -> dict[str, Any]:
    rules = aggregation_figures(people_of(samples, lfw / "peopleDevTrain.txt"))["rules"]
    whole = clean_figures(samples, lfw)
    return {
        "development": rules[DEFAULT_AGGREGATION],
        "accuracy": whole["accuracy"],
        "rank_1": whole["identification"]["rank"]["1"],
        "rank_1_interval": whole["identification"]["rank_1_interval"],
        "dir_at_0.01": whole["open_set"]["dir"]["0.01"],
    }


def draw(line: list[dict[str, Any]], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    pictures = [row["pictures_in_all"] / 1e6 for row in line]
    for name, words in (("rank_1", "rank-1, 5,749 people"), ("dir_at_0.01", "DIR at FPIR 1 %")):
        axis.plot(pictures, [100 * row[name] for row in line], "o-", lw=2, label=words)
    axis.set(xscale="log", xlabel="million pictures seen", ylabel="LFW, %", ylim=(0, 100))
    ticks = sorted(set(pictures))
    axis.set_xticks(ticks, [f"{million:.2f}" for million in ticks])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(file, dpi=110)


@click.command(cls=Script, help=__doc__)
@click.option("--lfw", type=click.Path(path_type=Path), default=SHARED / "data/lfw")
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="Scratch folder.")
@click.option(
    "--candidate",
    "candidates",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of a run; again, of the run that began from it.",
)
@click.option("--apart", is_flag=True, help="Each candidate began from the last bundle instead.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "encoder-line.json")
def main(lfw: Path, cache: Path, candidates: tuple[Path, ...], apart: bool, out: Path) -> None:
    begun, detector = circumstances(0), open_detector("bundled")
    photos = sorted((lfw / "images").glob("*/*.webp"))
    crops, shown = crops_of(photos, detector, cache, "lfw")
    line: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        history = bundles_of_history(Path(folder))
        bundles = dict(zip(history, pictures_of(history), strict=True))
        before = list(accumulate(bundles.values()))
        own = [images_seen(run) for run in candidates]
        after = [before[-1] + seen for seen in (own if apart else accumulate(own))]
        runs = [run / "encoder" for run in candidates]
        for bundle, in_all in zip((*bundles, *runs), (*before, *after), strict=True):
            encoder = open_encoder(str(bundle), "cpu")
            samples = samples_of(photos, embedded(crops, shown, encoder, cache, "lfw"))
            named = {"encoder": encoder.name, "encoder_fingerprint": encoder.fingerprint}
            line.append(named | {"pictures_in_all": in_all} | figures_of(samples, lfw))
    names = ("encoder", "pictures_in_all", "rank_1", "dir_at_0.01")
    rows = [
        [*(row[name] for name in names), row["development"]["mean"]["dir_at_0.01"]] for row in line
    ]
    table("LFW", [("", "pictures", "rank-1", "DIR 1 %", "development, DIR 1 %"), *rows])
    shipped, candidate_rows = line[: len(bundles)], line[len(bundles) :]
    draw(shipped, ROOT / "docs" / "encoder-line.png")
    measured = {"detector": detector.fingerprint, "line": shipped, "candidates": candidate_rows}
    finish(begun | measured, [], out)


if __name__ == "__main__":
    main()
