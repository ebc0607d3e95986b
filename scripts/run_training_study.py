"""The Siamese study on the FACECOM layout: recipes, losses, first weights, margins.

    run       train the cells that have no result yet; interrupted, the same command goes on
    report    tables for docs/training.md, and its figures

Build the layout first: scripts/make_facecom.py. Each cell leaves docs/results/train-CELL.json and
a run folder with its report. On a GPU: --size 224 --epochs 10 --seeds 3 on the layout with all
seven distortions of each photo. On a CPU: the defaults, on the layout with --drawn 2.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import click
import numpy as np
import torch
from command import Scripts

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from documents import fill, markdown  # noqa: E402
from measuring import DETECTOR, RESULTS, TEACHER, circumstances, finish  # noqa: E402

from facedb.encoder import open_encoder  # noqa: E402
from facedb.faces import open_detector  # noqa: E402
from facedb.photos import walk_people  # noqa: E402
from facedb.training import loop  # noqa: E402
from facedb.training.data import read_faces  # noqa: E402
from facedb.training.figures import distance_box_plot, tsne  # noqa: E402
from facedb.training.geometry import Embedded, validation_pairs  # noqa: E402
from facedb.training.loop import train  # noqa: E402
from facedb.training.margin import margin_study, margin_table  # noqa: E402
from facedb.training.recipes import Recipe, recipe  # noqa: E402
from facedb.training.request import EpochRow, TrainRequest  # noqa: E402
from facedb.training.teacher import embed, open_teacher  # noqa: E402
from facedb.training.validation import validate  # noqa: E402

MINED = {"sampler": "pk", "batch_size": 64, "cross_photo": -1.0}
MARGINS = (0.6, 0.8, 1.0, 1.2, 1.41, 1.7, 2.0)


@dataclass(frozen=True)
class Cell:
    """One training of the study: a recipe, what differs from it, and what part of the photo."""

    name: str
    recipe: str = "comsys"
    changes: dict[str, Any] = field(default_factory=dict)
    detector: str = "whole"


def cells() -> list[Cell]:
    """Every training of the study once, the most important first."""
    begun = {"begin": "bundled"}
    mined = begun | MINED
    distilled = {"teacher": str(TEACHER)}
    on_faces = {
        "bundled-face": begun,
        "loss-cosface": mined | {"loss": "cosface"},
        "loss-triplet": mined | {"loss": "triplet"},
        "loss-distillation": mined | distilled | {"loss": "distillation"},
        "loss-arcface": mined | {"loss": "arcface"},
        "margin-2": begun | {"margin": 2.0},
        "margin-0.6": begun | {"margin": 0.6},
        "margin-1.41": begun | {"margin": 1.41},
        "loss-sum": begun | distilled | {"loss": "contrastive+distillation"},
        "scratch-face": {},
        "margin-0.8": begun | {"margin": 0.8},
        "margin-1.2": begun | {"margin": 1.2},
        "margin-1.7": begun | {"margin": 1.7},
        "crossing": begun | {"cross_photo": 1.0},
    }
    return [
        Cell("comsys"),
        *(Cell(name, changes=changes, detector="none") for name, changes in on_faces.items()),
        Cell("bundled-whole", changes=begun),
        Cell("efficientnet-siamese", recipe="efficientnet-siamese"),
    ]


@dataclass(frozen=True)
class Study:
    """How long and how large, the same for every cell."""

    data: Path
    out: Path
    size: int
    epochs: int
    device: str
    results: Path

    def request(self, cell: Cell, seed: int) -> TrainRequest:
        """What `train` is asked for."""
        changes: dict[str, Any] = {"epochs": self.epochs, "seed": seed}
        if "begin" not in cell.changes:
            changes["size"] = self.size
        made: Recipe = recipe(cell.recipe, changes | cell.changes)
        return TrainRequest(
            data=self.data,
            out=self.out / f"{cell.name}-{seed}",
            recipe=made,
            device=self.device,  # type: ignore[arg-type]
            detector=cell.detector,
            teacher_detector=str(DETECTOR),
            workers=min(8, max(1, (os.cpu_count() or 1) - 1)),
            after_epoch=_say,
        )

    def file(self, cell: Cell, seed: int) -> Path:
        """Where a cell's result lies."""
        return self.results / f"train-{cell.name}-{seed}.json"


def _say(row: EpochRow) -> None:
    rank = row.metrics["cross_photo_rank1"]
    click.echo(
        f"  epoch {row.epoch}: loss {row.loss:.4f}, pairs {row.metrics['pair_accuracy']:.3f}, "
        f"cross-photo rank-1 {rank:.3f}, {row.images_per_second:.0f} photos/s, "
        f"waiting {row.waiting:.1%}"
    )


def measure(study: Study, cell: Cell, seed: int) -> None:
    """Train a cell and write its result."""
    started = circumstances(seed)
    request = study.request(cell, seed)
    report = train(request)
    shown = asdict(report) | {"run": request.out.name, "encoder": f"{request.out.name}/encoder"}
    shown["recipe"]["teacher"] = Path(report.recipe.teacher).name
    shown["left_out"] = len(report.left_out)
    rows = (request.out / "log.csv").read_text().splitlines()
    result = started | {
        "cell": cell.name,
        "data": study.data.name,
        "detector": cell.detector,
        "report": shown,
        "thumbnail_by_distortion": json.loads((request.out / "metrics.json").read_text())[
            "thumbnail_by_distortion"
        ],
        "epochs": [dict(zip(rows[0].split(","), row.split(","), strict=True)) for row in rows[1:]],
    }
    finish(result, [], study.file(cell, seed))


def _options(command: Any) -> Any:
    for option in reversed(
        (
            click.option("--data", type=click.Path(path_type=Path), required=True,
                         help="The FACECOM layout: train/ and val/."),
            click.option("--out", type=click.Path(path_type=Path), required=True,
                         help="Folder for the run folders."),
            click.option("--results", type=click.Path(path_type=Path), default=RESULTS,
                         help="Where the JSON files go."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


@click.group(cls=Scripts)
def main() -> None:
    """Train and compare."""


@main.command()
@_options
@click.option("--size", default=112, show_default=True, help="Pixels; 224 as published.")
@click.option("--epochs", default=3, show_default=True, help="10 as published.")
@click.option("--seeds", default="1", show_default=True, help="Such as 1,2,3.")
@click.option("--cell", "only", multiple=True, help="Only these cells.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
def run(
    data: Path,
    out: Path,
    results: Path,
    size: int,
    epochs: int,
    seeds: str,
    only: tuple[str, ...],
    device: str,
) -> None:
    """Train every cell that has no result yet."""
    chosen = [cell for cell in cells() if not only or cell.name in only]
    unknown = set(only) - {cell.name for cell in chosen}
    if unknown:
        raise click.UsageError(f"no cell {', '.join(sorted(unknown))}")
    study = Study(data, out, size, epochs, device, results)
    for seed in map(int, seeds.split(",")):
        for cell in chosen:
            if study.file(cell, seed).exists():
                continue
            click.echo(f"{cell.name}, seed {seed}")
            measure(study, cell, seed)


@main.command()
@_options
def baselines(data: Path, out: Path, results: Path) -> None:
    """Measure encoders that are not trained further on the same validation photos."""
    del out
    started = circumstances(1)
    proof = read_faces(walk_people(data / "val").entries, open_detector("none"), 112)
    encoders = {"bundled": open_encoder("bundled", "cpu"), "y1": open_teacher(str(TEACHER)).encoder}
    measured = {name: validate(embed(one, proof.crops), proof) for name, one in encoders.items()}
    result = started | {
        "data": data.name,
        "detector": "none",
        "encoders": {
            name: {"metrics": found.metrics, "by_distortion": found.by_distortion}
            for name, found in measured.items()
        },
    }
    finish(result, [], results / "train-baselines.json")


@main.command()
@_options
@click.option("--network", default="convnext_atto", show_default=True)
def resume(data: Path, out: Path, results: Path, network: str) -> None:
    """Kill -9 a run in the middle of an epoch, go on, and compare with an unbroken one."""
    started = circumstances(1)
    study = Study(data, out, 64, 2, "cpu", results)
    cell = Cell("resume", changes={"network": network, "precision": "bf16"})
    unbroken = train(study.request(Cell("unbroken", changes=cell.changes), 1))
    context = get_context("spawn")
    child = context.Process(target=_train_and_wait, args=(study, cell))
    child.start()
    checkpoint = study.request(cell, 1).out / "checkpoint.pt"
    while child.is_alive() and not _in_second_epoch(checkpoint):
        time.sleep(0.5)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    at = torch.load(checkpoint, weights_only=True)["at"]
    again = train(study.request(cell, 1))
    result = started | {
        "network": network,
        "killed_at": {"epochs_done": at[0], "step": at[1]},
        "unbroken": unbroken.metrics,
        "resumed": again.metrics,
        "equal": unbroken.metrics == again.metrics,
    }
    click.echo(f"killed after {at[0]} epochs and {at[1]} steps; equal: {result['equal']}")
    finish(result, [], results / "train-resume.json")


def _train_and_wait(study: Study, cell: Cell) -> None:
    loop.SAVE_EVERY = 1.0
    train(study.request(cell, 1))


def _in_second_epoch(checkpoint: Path) -> bool:
    if not checkpoint.exists():
        return False
    at = torch.load(checkpoint, weights_only=True)["at"]
    return bool(at[0] == 1 and at[1] >= 20)


FIGURES = {
    "pair accuracy, d < 0.5, as published": "pair_accuracy",
    "pair accuracy, d < 0.5": "cross_photo_pair_accuracy",
    "AUC": "cross_photo_auc",
    "EER": "cross_photo_eer",
    "TAR at FAR 1 %": "cross_photo_tar_at_far_1e-2",
    "TAR at FAR 0.1 %": "cross_photo_tar_at_far_1e-3",
    "rank-1, own photo in gallery": "same_photo_rank1",
    "rank-1": "cross_photo_rank1",
}


def results_of(cell: Cell, results: Path) -> list[dict[str, Any]]:
    """What was measured of a cell, a result a seed."""
    files = sorted(results.glob(f"train-{cell.name}-[0-9]*.json"))
    return [json.loads(file.read_text()) for file in files]


def baselines_of(results: Path) -> dict[str, Any]:
    """Name -> figures of the encoders that were not trained further."""
    file = results / "train-baselines.json"
    words = {"bundled": "bundled encoder, untrained here", "y1": "its teacher y1"}
    known = json.loads(file.read_text())["encoders"] if file.exists() else {}
    return {words[name]: figures for name, figures in known.items()}


def percent(values: Sequence[float | None]) -> str:
    """Mean and, of several seeds, standard deviation, in percent."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "-"
    more = f" ± {statistics.stdev(known):.1f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.1f}{more}"


def figures_table(results: Path) -> str:
    """A row a cell."""
    rows = []
    for cell in cells():
        found = results_of(cell, results)
        if not found:
            continue
        if not rows:
            for name, encoder in baselines_of(results).items():
                rows.append([name, *(percent([encoder["metrics"][n]]) for n in FIGURES.values())])
            thumbnail = found[0]["report"]["thumbnail"]
            rows.append(
                ["16x16 grey thumbnail", *(percent([thumbnail[n]]) for n in FIGURES.values())]
            )
        metrics = [result["report"]["metrics"] for result in found]
        rows.append(
            [f"`{cell.name}`", *(percent([m[n] for m in metrics]) for n in FIGURES.values())]
        )
    return markdown(["%", *FIGURES], rows)


def distortion_table(results: Path) -> str:
    """Cross-photo rank-1 by distortion, a row a cell."""
    rows: list[list[str]] = []
    kinds: list[str] = []
    for cell in cells():
        found = results_of(cell, results)
        if not found:
            continue
        if not rows:
            table = found[0]["thumbnail_by_distortion"]
            kinds = sorted(table, key=lambda kind: (kind != "clean", kind))
            for name, encoder in baselines_of(results).items():
                rows.append([name, *_ranks([encoder["by_distortion"]], kinds)])
            rows.append(["16x16 grey thumbnail", *_ranks([table], kinds)])
        tables = [result["report"]["by_distortion"] for result in found]
        rows.append([f"`{cell.name}`", *_ranks(tables, kinds)])
    return markdown(["cross-photo rank-1, %", *kinds], rows)


def _ranks(tables: Sequence[dict[str, Any]], kinds: Sequence[str]) -> list[str]:
    return [percent([table[kind]["cross_photo_rank1"] for table in tables]) for kind in kinds]


def speed_table(results: Path) -> str:
    """What each cell took."""
    rows = []
    for cell in cells():
        found = results_of(cell, results)
        if found:
            reports = [result["report"] for result in found]
            steps = [float(row["images_per_second"]) for r in found for row in r["epochs"]]
            waits = [float(row["waiting"]) for r in found for row in r["epochs"]]
            rows.append([
                f"`{cell.name}`",
                f"{len(reports)}",
                f"{reports[0]['parameters']:,}",
                f"{statistics.median(steps):.0f}",
                f"{statistics.median(steps) / 64:.1f}",
                f"{100 * statistics.median(waits):.1f} %",
                f"{statistics.mean(r['seconds'] for r in reports) / 60:.1f}",
            ])  # fmt: skip
    head = ["cell", "seeds", "parameters", "photos/s", "steps/s", "waiting for photos", "minutes"]
    return markdown(head, rows)


def margins(out: Path) -> dict[float, Embedded]:
    """Margin -> what its encoder makes of the validation photos."""
    names = {margin: f"margin-{margin:g}" for margin in MARGINS} | {1.0: "bundled-face"}
    files = {margin: out / f"{name}-1" / "embeddings.npz" for margin, name in names.items()}
    return {margin: embedded(file) for margin, file in files.items() if file.exists()}


def embedded(file: Path) -> Embedded:
    """A run's embeddings, its people without their names."""
    with np.load(file) as data:
        return Embedded(
            data["embeddings"],
            data["labels"],
            data["photos"],
            tuple(data["kinds"].tolist()),
            (),
            tuple(f"person {n + 1}" for n in range(len(data["names"]))),
        )


def margin_markdown(runs: dict[float, Embedded]) -> str:
    """A row a margin."""
    rows = margin_table(runs)
    head = [name.replace("_", " ") for name in rows[0]]
    return markdown(head, [[f"{value:.4g}" for value in row.values()] for row in rows])


@main.command()
@_options
@click.option(
    "--document", type=click.Path(path_type=Path), default=ROOT / "docs" / "training.md",
    help="Where the tables stand.",
)  # fmt: skip
def report(data: Path, out: Path, results: Path, document: Path) -> None:
    """Fill the tables of docs/training.md, and draw its figures, of what was measured."""
    del data
    tables = {
        "figures": figures_table(results),
        "distortions": distortion_table(results),
        "speed": speed_table(results),
    }
    pictures = document.parent / "training"
    pictures.mkdir(exist_ok=True)
    runs = margins(out)
    if {1.0, 2.0} <= set(runs):
        tables["margins"] = margin_markdown(runs)
        margin_study(runs, pictures / "margin.png")
    for name in ("comsys", "bundled-face"):
        file = out / f"{name}-1" / "embeddings.npz"
        if file.exists():
            draw_cell(embedded(file), pictures, name)
    fill(document, tables)


def draw_cell(seen: Embedded, pictures: Path, name: str) -> None:
    """The boxes of 1,000 pairs of both kinds, and the t-SNE."""
    sets = {
        words: validation_pairs(seen.embeddings, seen.labels, seen.photos, cross_photo=crossing)
        for words, crossing in (("any two pictures", False), ("two photos", True))
    }
    distance_box_plot(sets, pictures / f"{name}-distances.png", note=name)
    tsne(seen.embeddings, seen.labels, seen.names, pictures / f"{name}-tsne.png", note=name)


if __name__ == "__main__":
    main()
