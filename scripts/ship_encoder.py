"""Make the encoder of a finished run the bundled one; its card then says what it was trained on.

    python scripts/make_celeba.py --out runs/celeba
    facedb train runs/celeba --recipe best --begin bundled --detector none \\
        --teacher insightface_y1_mobilefacenet_128.onnx --out runs/best
    python scripts/evaluate_line.py --cache runs/cache --candidate runs/best
    python scripts/ship_encoder.py runs/best --people runs/celeba --name convnext-atto-best
    python scripts/evaluate_models.py --cache runs/cache --write-card
    python scripts/evaluate_calibration.py --cache runs/cache --write-card
    python scripts/fit_quality.py --people runs/celeba --write-card

It ships only what identifies a point more of LFW's development people than the bundled encoder
does, at an FPIR of 1 %: a repository keeps every bundle that was ever committed. (The people held
out from CelebA are 40, and their labels err: they tell that a run is well, not what it gained.)
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import click
from command import Script
from measuring import RESULTS, ROOT, bundled_folder, circumstances, finish

from facedb.encoder.bundle import BUNDLED, CARD, GRAPH, WEIGHTS, read_bundle

LEAST_GAIN = 0.01
FIGURES = ("cross_photo_rank1", "cross_photo_auc", "cross_photo_tar_at_far_1e-3")
DATA = (
    "CelebA: 226 people in the wild, aligned, and the aligned release at half size; "
    "without the people that resemble one of LFW"
)
TERMS = "non-commercial research (CelebA; the InsightFace teacher)"


def images_seen(run: Path) -> int:
    """How many pictures the run learned from: pairs of its batches, over all steps."""
    recipe = json.loads((run / "recipe.json").read_text())
    return int(log_of(run)[-1]["steps"]) * pictures_a_step(recipe)


def pictures_a_step(recipe: dict[str, Any]) -> int:
    return int(recipe["batch_size"]) * (2 if recipe["sampler"] == "pairs" else 1)


def log_of(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open() as file:
        return list(csv.DictReader(file))


def progress(run: Path, before: dict[str, Any]) -> dict[str, Any]:
    """How well the people held out are told apart, by pictures seen, and before the first."""
    recipe = json.loads((run / "recipe.json").read_text())
    each = pictures_a_step(recipe)
    rows = [
        {"images": int(row["steps"]) * each, "loss": float(row["loss"])}
        | {"images_per_second": float(row["images_per_second"])}
        | {name: float(row[name]) for name in FIGURES}
        for row in log_of(run)
    ]
    held = before["measured"]["held_out_people"]
    begun = {
        "name": before["name"],
        "auc": held.get("cross_photo_auc", held.get("auc")),
        "images": before["training"]["images_seen"],
    }
    begun["rank1"] = held.get("cross_photo_rank1", held.get("rank1"))
    recipe["teacher"] = Path(recipe["teacher"]).name
    took = [rows[0]["images"] / row["images_per_second"] / 60 for row in rows]
    return {"recipe": recipe, "begun_from": begun, "minutes": sum(took), "epochs": rows}


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


def shipped(run: Path, people: Path, name: str) -> dict[str, Any]:
    """The run's card, as it travels with the package."""
    card: dict[str, Any] = json.loads((run / "encoder" / CARD).read_text(encoding="utf-8"))
    before = json.loads((BUNDLED / CARD).read_text(encoding="utf-8"))
    held = sorted(path.name for path in (people / "val").iterdir())
    training = card["training"]
    photos = training.pop("photos_sha256")  # of crops that nobody else has: a long list of nothing
    training |= {
        "data": DATA,
        "photos": len(photos),
        "terms": TERMS,
        "images_seen": images_seen(run),
        "held_out": {"set": "crops160", "identities": held},
    }
    if training["recipe"]["begin"]:
        training["begun_from"] = {"name": before["name"], "weights": before["weights_sha256"]}
    metrics = json.loads((run / "metrics.json").read_text())
    card["measured"] = {"held_out_people": {"n": metrics["n"], **metrics["encoder"]}}
    return card | {"name": name, "training": training}


def gain_of(run: Path) -> float:
    """How much more the run's encoder identifies than the bundled one, by `evaluate_line.py`."""
    file = RESULTS / "encoder-line.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    rows = [*found.get("line", [])[-1:], found.get("candidate") or {}]
    prints = [read_bundle(folder).fingerprint for folder in (BUNDLED, run / "encoder")]
    if [row.get("encoder_fingerprint") for row in rows] != prints:
        raise click.ClickException(f"{file}: of others; run evaluate_line.py --candidate {run}")
    before, after = (row["development"]["mean"]["dir_at_0.01"] for row in rows)
    click.echo(f"DIR at FPIR 1 % on the development people: {before:.4f} -> {after:.4f}")
    return float(after - before)


@click.command(cls=Script, help=__doc__)
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.option("--people", type=click.Path(path_type=Path), required=True, help="It was trained on.")
@click.option("--name", required=True)
def main(run: Path, people: Path, name: str) -> None:
    bundled = bundled_folder()
    before = json.loads((bundled / CARD).read_text(encoding="utf-8"))
    card = shipped(run, people, name)
    gain = gain_of(run)
    if gain < LEAST_GAIN:
        raise click.ClickException(f"a gain of {gain:.4f} is less than {LEAST_GAIN}: not shipped")
    result = circumstances(card["training"]["recipe"]["seed"]) | progress(run, before)
    draw(result, ROOT / "docs" / "encoder-training.png")
    finish(result, [], RESULTS / "encoder-training.json")
    for file in (WEIGHTS, GRAPH):
        shutil.copyfile(run / "encoder" / file, bundled / file)
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False)
    (bundled / CARD).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
