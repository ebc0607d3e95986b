"""What each part of the recipe of the bundled encoder is worth: `best` with one thing changed.

Claim: no part is there that does not pay. Method: from random weights, or from a bundle's, a few
epochs each of the folder that make_celeba.py builds, the same pictures a cell; rank-1, AUC and TAR
of the people held out, whose photos all cross. Short runs tell what teaches fast, not what would
last longest: the document says so.

    python scripts/run_encoder_levers.py runs/celeba --teacher TEACHER.onnx --out runs/levers
    python scripts/run_encoder_levers.py runs/celeba --out runs/begun --begin bundled \
        --learning-rate 3e-4 --epochs 3 --seed 3 --lever best --lever with-hints
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

import click
from command import Script
from measuring import RESULTS, TEACHER, circumstances, finish, rounded, table

from facedb.training.loop import train
from facedb.training.recipes import OF_THE_NETWORK, recipe
from facedb.training.request import TrainRequest

LEVERS: dict[str, dict[str, Any]] = {
    "best": {},
    "no-contrastive": {"loss": "distillation"},
    "contrastive-0.1": {"loss": "distillation+0.1*contrastive"},
    "contrastive-0.5": {"loss": "distillation+0.5*contrastive"},
    "no-blends": {"mix": 0.0},
    "no-bends": {"bend": 0.0},
    "no-distortions": {"distort": 0.0},
    "no-jitter": {"augment": "none"},
    "published-transforms": {"augment": "published"},
    "new-each-epoch": {"renew": 1},
    "no-average": {"ema": 0.0},
    "adamw": {"optimizer": "adamw", "learning_rate": 1e-3},
    "with-relational": {"loss": "distillation+0.02*contrastive+0.3*relational"},
    "with-hints": {"loss": "distillation+0.02*contrastive+0.3*hints"},
    "with-blur": {"blur": 3},
    "with-cosface": {"loss": "distillation+0.02*contrastive+0.02*cosface"},
    "triplet": {"loss": "distillation+0.5*triplet", "sampler": "pk", "batch_size": 128},
    "patch-4": {"network_options": "patch_size=4,act_layer=relu,ls_init_value=None"},
}
FIGURES = ("cross_photo_rank1", "cross_photo_auc", "cross_photo_tar_at_far_1e-3")


@click.command(cls=Script, help=__doc__)
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--teacher", type=click.Path(path_type=Path), default=TEACHER)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="For the run folders.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS)
@click.option("--begin", default="", help="A bundle whose weights come first, or bundled.")
@click.option("--learning-rate", default=recipe("best").learning_rate, show_default=True)
@click.option("--epochs", default=6, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--lever", "only", multiple=True, type=click.Choice(list(LEVERS)))
@click.option("--workers", default=1, show_default=True)
def main(
    data: Path,
    teacher: Path,
    out: Path,
    results: Path,
    begin: str,
    learning_rate: float,
    epochs: int,
    seed: int,
    only: tuple[str, ...],
    workers: int,
) -> None:
    rows: list[tuple[object, ...]] = [("", "rank-1", "AUC", "TAR at FAR 0.1 %", "photos/s")]
    for name, changes in LEVERS.items():
        file = results / f"lever-{name}-{seed}.json"
        if file.exists() or (only and name not in only):
            continue
        if begin and set(changes) & set(OF_THE_NETWORK):
            continue
        begun = circumstances(seed)
        common = {"teacher": str(teacher), "epochs": epochs, "seed": seed}
        common |= {"begin": begin, "learning_rate": learning_rate}
        made = recipe("best", common | changes)
        request = TrainRequest(
            data, out / f"{name}-{seed}", made, detector="none", workers=workers, draw=False
        )
        report = train(request)
        shown = asdict(report.recipe) | {"teacher": teacher.name}
        figures = {key: report.metrics[key] for key in FIGURES}
        result = begun | {"lever": name, "changes": changes, "recipe": shown, "figures": figures}
        result |= {
            "people": report.val_people,
            "photos": report.val_photos,
            "images_per_second": rounded(report.images_per_second),
            "parameters": report.parameters,
        }
        finish(result, [], file)
        values = [f"{100 * (figures[key] or 0):.1f}" for key in FIGURES]
        rows.append((name, *values, f"{report.images_per_second:.0f}"))
    table(f"{epochs} epochs, seed {seed}", rows)


if __name__ == "__main__":
    main()
