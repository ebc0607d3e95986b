"""Six convolutional blocks on CIFAR-10, under a plain and a modern recipe.

    run      train whatever of the study is missing, then write docs/results/cifar10-<name>.json
    report   draw the figures and the tables of docs/cifar10.md from those files

The claim tested: block B is best, the recipe matters more than the block. An interrupted `run`
goes on from the last epoch when the same command is given again; finished runs are skipped. Each
run's folder holds its source, circumstances, curve and checkpoint.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import click
import numpy as np
import torch
from command import Scripts
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from documents import fill  # noqa: E402
from measuring import RESULTS, SHARED, circumstances, rounded, table  # noqa: E402

from facedb.errors import DependencyMissing  # noqa: E402
from facedb.study import analysis, cost  # noqa: E402
from facedb.study.augment import Photos  # noqa: E402
from facedb.study.blocks import BLOCKS, BlockNetwork, find_block  # noqa: E402
from facedb.study.data import NAMES, Cifar10, Part, load  # noqa: E402
from facedb.study.report import block_table, grouped, section  # noqa: E402
from facedb.study.train import (  # noqa: E402
    Plan,
    Recipe,
    Training,
    find_recipe,
    predict,
    read_checkpoint,
    speed,
)

ARCHIVE = SHARED / "data" / "cifar10" / "cifar10_jpg.tar.xz"
RUNS = ROOT / "runs" / "cifar10"
DOCUMENT = ROOT / "docs" / "cifar10.md"
# Read at once: what runs is recorded, also when a file is edited meanwhile.
SOURCE = {
    file.name: file.read_bytes()
    for file in [*(ROOT / "facedb" / "study").glob("*.py"), Path(__file__)]
}
SAMPLE, SHOWN = 1000, 8
QUICK_PHOTOS, QUICK_EPOCHS, QUICK_BATCH, QUICK_CURVE = 10_000, 5, 128, 1000


@dataclass(frozen=True)
class Study:
    """Where a study runs and on what.

    Attributes:
        folder: a folder in it for each run.
        train, test: the pictures, on the device.
        curve: how many test pictures are looked at after each epoch.
        deadline: when to stop, in `time.monotonic()`; infinite without --minutes.
    """

    folder: Path
    train: Photos
    test: Photos
    test_part: Part
    curve: int
    compiled: bool
    deadline: float


@click.group(cls=Scripts, help=__doc__, context_settings={"max_content_width": 100})
def main() -> None:
    pass


@main.command()
@click.option("--data", type=Path, default=ARCHIVE, help="Folder or archive of CIFAR-10.")
@click.option("--download", is_flag=True, help="Let torchvision fetch CIFAR-10 into --data.")
@click.option(
    "--partial", is_flag=True, help="Take a set with fewer pictures than there should be."
)
@click.option("--runs", type=Path, default=RUNS, show_default="runs/cifar10", help="Run folders.")
@click.option(
    "--out", type=Path, default=RESULTS, show_default="docs/results", help="For the JSON."
)
@click.option("--blocks", default=",".join(BLOCKS), show_default=True, help="Which, in this order.")
@click.option("--recipes", default="modern,plain", show_default=True, help="Which, in this order.")
@click.option(
    "--seeds", default="modern:3,plain:1", show_default=True, help="Seeds of each recipe."
)
@click.option("--epochs", type=int, help="Instead of each recipe's own number, 30.")
@click.option("--quick", is_flag=True, help="For a CPU: 10,000 photos, 5 epochs, 1 seed.")
@click.option("--minutes", type=float, help="Stop in time, to go on with the same command.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where.")
@click.option("--no-compile", is_flag=True, help="On a GPU without a C compiler for torch.compile.")
@click.option("--threads", type=int, help="Of a CPU. Two runs of one thread beat one of two.")
def run(data: Path, runs: Path, out: Path, **options: Any) -> None:
    """Train whatever is missing of the study, then summarise it."""
    started = time.monotonic()
    if options["threads"]:
        torch.set_num_threads(options["threads"])
    name = "quick" if options["quick"] else "full"
    plans = list(planned(options))
    if options["download"]:
        download(data)
    cifar = load(data, runs / "decoded", options["partial"])
    study = prepare(cifar, runs / name, started, options)
    estimate(study, plans)
    complete = all(trained(study, plan) for plan in plans)
    summarise(study, cifar, out / f"cifar10-{name}.json", complete)
    if not complete:
        click.echo("time is up; the same command goes on where this one stopped")


def planned(options: dict[str, Any]) -> Iterator[Plan]:
    """Every run that was asked for, all blocks of one seed before the next seed."""
    blocks = options["blocks"].split(",")
    for block in blocks:
        find_block(block)
    seeds = dict(pair.split(":") for pair in options["seeds"].split(","))
    for name in options["recipes"].split(","):
        recipe = shaped(find_recipe(name), options)
        for seed in range(1 if options["quick"] else int(seeds.get(name, 1))):
            for block in blocks:
                yield Plan(block, recipe, seed)


def shaped(recipe: Recipe, options: dict[str, Any]) -> Recipe:
    if options["quick"]:
        return recipe.shortened(options["epochs"] or QUICK_EPOCHS, QUICK_BATCH)
    return recipe.shortened(options["epochs"] or recipe.epochs, recipe.batch)


def download(data: Path) -> None:
    from torchvision.datasets import CIFAR10

    CIFAR10(str(data), download=True)


def prepare(cifar: Cifar10, folder: Path, started: float, options: dict[str, Any]) -> Study:
    """Put the pictures on the device, or say why they stay in host memory."""
    chosen = options["device"]
    if chosen == "cuda" and not torch.cuda.is_available():
        raise click.ClickException("--device cuda: no usable GPU here; use --device auto")
    on_gpu = chosen != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    torch.backends.cudnn.benchmark = on_gpu
    train = cifar.train.balanced(QUICK_PHOTOS) if options["quick"] else cifar.train
    # The order is by class on disk: a part of it is to hold every class.
    test = cifar.test.shuffled()
    photos = Photos(train, device), Photos(test, device)
    if any(one.home != device for one in photos):
        click.echo("too little GPU memory for the pictures: they stay in host memory", err=True)
    minutes = options["minutes"]
    deadline = started + 60 * minutes if minutes else float("inf")
    curve = min(len(test.labels), QUICK_CURVE if options["quick"] else len(test.labels))
    compiled = on_gpu and not options["no_compile"]
    return Study(folder, *photos, test, curve, compiled, deadline)


def estimate(study: Study, plans: Sequence[Plan]) -> None:
    """Measure each block that still has runs to do, and say how long they will take."""
    seconds, rows = 0.0, [("block", "images/s", "runs to do", "minutes")]
    for block in dict.fromkeys(plan.block for plan in plans):
        left = [plan for plan in plans if plan.block == block and not result_of(study, plan)]
        if not left:
            continue
        rate = speed(left[0], study.train, study.compiled)
        work = sum(plan.recipe.epochs for plan in left) * len(study.train) / rate
        seconds += work
        rows.append((block, rounded(rate), len(left), rounded(work / 60)))
    if seconds:
        table(f"about {seconds / 60:.1f} minutes of training", rows)


def result_of(study: Study, plan: Plan) -> dict[str, Any] | None:
    """What a finished run of exactly this plan left, else None."""
    file = study.folder / plan.key / "run.json"
    if not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text())
    return found if found["plan"] == asdict(plan) else None


def trained(study: Study, plan: Plan) -> bool:
    """Train, or go on with, one run; False when there is no time left for it."""
    if result_of(study, plan):
        return True
    folder = study.folder / plan.key
    begin(folder, plan)
    training = Training(plan, study.train, study.compiled)
    if (folder / "checkpoint.pt").exists():
        training.resume(folder / "checkpoint.pt")
    while not training.finished:
        last = training.curve[-1].seconds if training.curve else 0.0
        if time.monotonic() + 1.2 * last > study.deadline:
            return False
        point = training.epoch(lambda network: accuracy(study, network, limit=study.curve))
        training.save(folder / "checkpoint.pt")
        click.echo(
            f"{plan.key} epoch {point.epoch}/{plan.recipe.epochs} loss {point.loss:.3f} "
            f"train {point.train:.4f} test {point.test:.4f} {point.seconds:.1f} s"
        )
    conclude(study, training, folder)
    return True


def begin(folder: Path, plan: Plan) -> None:
    """The run's folder, with the source that it runs."""
    source = folder / "source"
    source.mkdir(parents=True, exist_ok=True)
    for name, content in SOURCE.items():
        (source / name).write_bytes(content)
    record = {**surroundings(plan.seed), "plan": asdict(plan)}
    (folder / "circumstances.json").write_text(json.dumps(record, indent=1))


def surroundings(seed: int) -> dict[str, Any]:
    """Command, commit, hardware and versions, also where there is no git."""
    record = circumstances(seed) if shutil.which("git") else {"commit": "unknown", "seed": seed}
    for name in ("torch", "torchvision", "scikit-learn"):
        try:
            record.setdefault("versions", {})[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            record["versions"][name] = "not installed"
    hardware = record.setdefault("hardware", {"cores": os.cpu_count()})
    hardware["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    hardware["threads"] = torch.get_num_threads()
    return record


def accuracy(study: Study, network: BlockNetwork, limit: int) -> float:
    predicted = predict(network, study.test, limit=limit).argmax(1).numpy()
    return float((predicted == study.test_part.labels[:limit]).mean())


def conclude(study: Study, training: Training, folder: Path) -> None:
    """Test the finished network, and write what came out."""
    labels, curve = study.test_part.labels, training.curve
    plain = predict(training.used, study.test)
    mirrored = (plain + predict(training.used, study.test, mirror=True)).argmax(1).numpy()
    predicted = plain.argmax(1).numpy()
    seconds = sum(point.seconds for point in curve)
    images = training.steps * training.batch * len(curve)
    result = {
        "plan": asdict(training.plan),
        "curve": [asdict(point) for point in curve],
        "parameters": cost.parameters(training.network),
        "multiply_accumulates": cost.multiply_accumulates(training.network),
        "train_photos": len(study.train),
        "test_photos": len(labels),
        "train_accuracy": curve[-1].train,
        "test_accuracy": float((predicted == labels).mean()),
        "test_accuracy_mirrored": float((mirrored == labels).mean()),
        "seconds": rounded(seconds),
        "images_per_second": rounded(images / seconds),
        "confusion": analysis.confusion(labels, predicted).tolist(),
        "circumstances": surroundings(training.plan.seed),
    }
    (folder / "run.json").write_text(json.dumps(result))


def summarise(study: Study, cifar: Cifar10, file: Path, complete: bool) -> None:
    """Write everything that is finished in the study's folder into one file."""
    found = {one.parent: json.loads(one.read_text()) for one in study.folder.glob("*/run.json")}
    done = dict(sorted(found.items(), key=lambda item: order_of(item[1]["plan"])))
    first = {folder: run for folder, run in done.items() if complete and not run["plan"]["seed"]}
    looking = [folder for folder, run in first.items() if run["plan"]["block"] == "B"]
    summary = surroundings(0) | {
        "schema": "facedb.cifar10/1",
        "complete": complete,
        "storage": cifar.storage,
        "train_photos": len(study.train),
        "test_photos": len(study.test),
        "runs": list(done.values()),
        "looks": [look(study, folder, run["plan"]) for folder, run in first.items()],
        "attention": attention(study, looking[0]) if looking else None,
    }
    show(summary["runs"])
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".tmp")
    unfinished.write_text(json.dumps(summary, separators=(",", ":")) + "\n")
    unfinished.replace(file)
    click.echo(f"written: {file}")


def order_of(plan: dict[str, Any]) -> tuple[str, int, int]:
    return plan["recipe"]["name"], list(BLOCKS).index(plan["block"]), plan["seed"]


def show(runs: Sequence[dict[str, Any]]) -> None:
    rows = [("recipe", "block", "seeds", "test %", "mirrored %", "seconds")]
    for key, group in grouped(runs).items():
        names = ("test_accuracy", "test_accuracy_mirrored", "seconds")
        test, mirrored, seconds = (statistics.mean(one[field] for one in group) for field in names)
        rows.append((*key, len(group), 100 * test, 100 * mirrored, seconds))
    table("finished runs", rows)


def look(study: Study, folder: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """The t-SNE of a run's features, kept in its folder once made."""
    file = folder / "look.json"
    if file.exists():
        kept: dict[str, Any] = json.loads(file.read_text())
        return kept
    count = min(SAMPLE, len(study.test))
    labels = study.test_part.labels[:count]
    found: dict[str, Any] = {"block": plan["block"], "recipe": plan["recipe"]["name"]}
    try:
        features = analysis.penultimate(network_of(study, folder), study.test, count)
        plane = analysis.plane(features, labels)
    except DependencyMissing as error:
        click.echo(f"{folder.name}: {error}; then run again", err=True)
        return found
    found |= {
        "points": (plane.points * 999).round().astype(int).tolist(),
        "labels": labels.tolist(),
        "silhouette_plane": rounded(plane.silhouette_plane),
        "silhouette_features": rounded(plane.silhouette_features),
    }
    file.write_text(json.dumps(found))
    return found


def attention(study: Study, folder: Path) -> dict[str, Any]:
    """Where block B looks: one test picture of each of the first classes, and its maps."""
    labels = study.test_part.labels
    rows = [int(np.flatnonzero(labels == label)[0]) for label in range(SHOWN)]
    images = torch.cat([study.test.plain(slice(row, row + 1))[0] for row in rows])
    maps = analysis.attention_maps(network_of(study, folder), images)
    return {
        "recipe": folder.name.split("-")[0],
        "classes": [NAMES[label] for label in range(SHOWN)],
        "pictures": [as_png(study.test_part.images[row]) for row in rows],
        "maps": [layer.astype(float).round(2).tolist() for layer in maps],
    }


def as_png(pixels: Any) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def network_of(study: Study, folder: Path) -> BlockNetwork:
    state = read_checkpoint(folder / "checkpoint.pt", study.test.device)
    network = BlockNetwork(state["plan"]["block"]).to(study.test.device)
    network.load_state_dict(state["used"])
    return network


@main.command()
@click.option(
    "--results", type=Path, default=RESULTS, show_default="docs/results", help="The JSON."
)
@click.option("--document", type=Path, default=DOCUMENT, show_default="docs/cifar10.md", help="It.")
def report(results: Path, document: Path) -> None:
    """Draw the figures beside the document and fill in its tables."""
    from facedb.study.figures import draw_all

    for file in sorted(results.glob("cifar10-*.json")):
        study, name = json.loads(file.read_text()), file.stem.removeprefix("cifar10-")
        fill(document, {"blocks": block_table(), name: section(study, name)})
        for figure in draw_all(study, document.parent / "cifar10", name):
            click.echo(f"written: {figure}")
        click.echo(f"filled from {file.name}: {document}")


if __name__ == "__main__":
    main()
