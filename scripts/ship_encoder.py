"""Make the encoder of finished runs the bundled one; its card then says what it was trained on.

    python scripts/make_celeba.py --out runs/celeba
    facedb train runs/celeba --recipe best --begin bundled --detector none \\
        --teacher insightface_y1_mobilefacenet_128.onnx --out runs/best
    python scripts/evaluate_line.py --cache runs/cache --candidate runs/best
    python scripts/ship_encoder.py runs/best --people runs/celeba --name convnext-atto-best
    python scripts/evaluate_models.py --cache runs/cache --write-card
    python scripts/evaluate_calibration.py --cache runs/cache --write-card
    python scripts/fit_quality.py --people runs/celeba --write-card

Of several runs, each of which began from the one before, the last one's encoder ships.

It ships only what identifies a point more of LFW's development people than the bundled encoder
does, at an FPIR of 1 %: a repository keeps every bundle that was ever committed. (The people held
out from CelebA are 40, and their labels err: they tell that a run is well, not what it gained.)
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from command import Script
from measuring import RESULTS, ROOT, bundled_folder, circumstances, finish

from facedb.encoder.bundle import BUNDLED, CARD, GRAPH, WEIGHTS, read_bundle, write_card

LEAST_GAIN = 0.01
FIGURES = ("cross_photo_rank1", "cross_photo_auc", "cross_photo_tar_at_far_1e-3")
DATA = (
    "CelebA: 226 people in the wild, aligned, and the aligned release at half size; "
    "without the people that resemble one of LFW"
)
TERMS = "non-commercial research (CelebA; the InsightFace teacher)"


def images_seen(run: Path) -> int:
    """How many pictures the run learned from."""
    return int(epochs_of(run)[-1]["images"])


def epochs_of(run: Path) -> list[dict[str, float]]:
    """A row an epoch: pictures seen (pairs of its batches, over all steps), loss, rate, figures."""
    recipe = recipe_of(run)
    each = int(recipe["batch_size"]) * (2 if recipe["sampler"] == "pairs" else 1)
    with (run / "log.csv").open() as file:
        return [
            {"images": int(row["steps"]) * each}
            | {name: float(row[name]) for name in ("loss", "images_per_second", *FIGURES)}
            for row in csv.DictReader(file)
        ]


def recipe_of(run: Path) -> dict[str, Any]:
    """What the run was told, as its card has it: other files by name, and not by their paths."""
    recipe: dict[str, Any] = card_of(run)["training"]["recipe"]
    return recipe


def card_of(run: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((run / "encoder" / CARD).read_text(encoding="utf-8"))
    return card


def begun_from(run: Path) -> dict[str, str] | None:
    """Name and weights of the encoder that a run began from; None where those were random."""
    found: dict[str, str] | None = card_of(run)["training"].get("begun_from")
    return found


def progress(runs: Sequence[Path], bundled: dict[str, Any]) -> dict[str, Any]:
    """How well the people held out are told apart, by pictures seen.

    Beside them the bundled encoder's figures, where the first run began from it.
    """
    rows: list[dict[str, float]] = []
    minutes = 0.0
    for run in runs:
        epochs, seen = epochs_of(run), rows[-1]["images"] if rows else 0
        minutes += sum(epochs[0]["images"] / row["images_per_second"] / 60 for row in epochs)
        rows += [row | {"images": seen + row["images"]} for row in epochs]
    found = {"recipes": [recipe_of(run) for run in runs], "minutes": minutes, "epochs": rows}
    if (begun_from(runs[0]) or {}).get("weights") != bundled["weights_sha256"]:
        return found
    held = bundled["measured"]["held_out_people"]
    begun = {"name": bundled["name"], "images": bundled["training"]["images_seen"]}
    begun |= {figure: held[f"cross_photo_{figure}"] for figure in ("auc", "rank1")}
    return found | {"begun_from": begun}


def draw(result: dict[str, Any], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    images = [row["images"] / 1e6 for row in result["epochs"]]
    for axis, name, words in zip(axes, FIGURES, ("rank-1", "AUC", "TAR at FAR 0.1 %"), strict=True):
        axis.plot(images, [100 * row[name] for row in result["epochs"]], lw=2)
        axis.set(title=f"{words} of the people held out, %", xlabel="million pictures seen")
        axis.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


def shipped(runs: Sequence[Path], people: Path, name: str) -> dict[str, Any]:
    """The last run's card, as it travels with the package."""
    card = card_of(runs[-1])
    held = sorted(path.name for path in (people / "val").iterdir())
    training = card["training"]
    photos = training.pop("photos_sha256")  # of crops that nobody else has: a long list of nothing
    training |= {
        "data": DATA,
        "photos": len(photos),
        "terms": TERMS,
        "images_seen": sum(images_seen(each) for each in runs),
        "held_out": {"set": "crops160", "identities": held},
    }
    if len(runs) > 1:
        training["recipes_before"] = [recipe_of(each) for each in runs[:-1]]
    training.pop("begun_from", None)  # the run before, of several
    if begun := begun_from(runs[0]):
        training["begun_from"] = begun
    metrics = json.loads((runs[-1] / "metrics.json").read_text())
    card["measured"] = {"held_out_people": {"n": metrics["n"], **metrics["encoder"]}}
    return card | {"name": name, "training": training}


def gain_of(runs: Sequence[Path]) -> float:
    """How much more the last run's encoder identifies than the bundled, by `evaluate_line.py`."""
    file = RESULTS / "encoder-line.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    rows = [*found.get("line", [])[-1:], *found.get("candidates", [])[-1:]]
    prints = [read_bundle(folder).fingerprint for folder in (BUNDLED, runs[-1] / "encoder")]
    if [row.get("encoder_fingerprint") for row in rows] != prints:
        again = " ".join(f"--candidate {run}" for run in runs)
        raise click.ClickException(f"{file}: of others; run evaluate_line.py {again}")
    before, after = (row["development"]["mean"]["dir_at_0.01"] for row in rows)
    click.echo(f"DIR at FPIR 1 % on the development people: {before:.4f} -> {after:.4f}")
    return float(after - before)


@click.command(cls=Script, help=__doc__)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--people", type=click.Path(path_type=Path), required=True, help="It was trained on.")
@click.option("--name", required=True)
def main(runs: tuple[Path, ...], people: Path, name: str) -> None:
    bundled = bundled_folder()
    before = json.loads((bundled / CARD).read_text(encoding="utf-8"))
    card = shipped(runs, people, name)
    gain = gain_of(runs)
    if gain < LEAST_GAIN:
        raise click.ClickException(f"a gain of {gain:.4f} is less than {LEAST_GAIN}: not shipped")
    result = circumstances(card["training"]["recipe"]["seed"]) | progress(runs, before)
    draw(result, ROOT / "docs" / "encoder-training.png")
    finish(result, [], RESULTS / "encoder-training.json")
    for file in (WEIGHTS, GRAPH):
        shutil.copyfile(runs[-1] / "encoder" / file, bundled / file)
    write_card(bundled / CARD, card)


if __name__ == "__main__":
    main()
