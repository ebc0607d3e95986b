"""`facedb train` and `facedb tune`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from facedb.cli.options import Shared, shared
from facedb.errors import DependencyMissing
from facedb.render import as_json
from facedb.render_training import training_text, tuning_text
from facedb.training.recipes import RECIPES, Recipe, recipe

if TYPE_CHECKING:
    from facedb.device import Device
    from facedb.training.request import EpochRow, TrainRequest

_F = TypeVar("_F", bound=Callable[..., Any])


def _recipe_options(command: _F) -> _F:
    """--recipe, and an option for each field of a recipe."""
    for entry in reversed(fields(Recipe)):
        command = _option(entry)(command)
    return click.option(
        "--recipe",
        "recipe_name",
        type=click.Choice(list(RECIPES)),
        default="comsys",
        show_default=True,
        help="The values that the options below replace: comsys and efficientnet-siamese as "
        "published, own to go on from the bundled encoder with your people, best as the bundled "
        "encoder was trained (with --teacher).",
    )(command)


def _option(entry: Field[Any]) -> Callable[[_F], _F]:
    assert entry.default is not MISSING
    name, kind = entry.name.replace("_", "-"), type(entry.default)
    words = entry.metadata["help"]
    if kind is not bool and entry.default != "":
        words += f"  [comsys: {entry.default}]"
    if kind is bool:
        return click.option(f"--{name}/--no-{name}", entry.name, default=None, help=words)
    return click.option(f"--{name}", entry.name, type=kind, default=None, help=words)


def _data_options(command: _F) -> _F:
    options = [
        click.argument("data", metavar="DIR", type=click.Path(path_type=Path)),
        click.option(
            "--val",
            type=click.Path(path_type=Path),
            help="People to validate on  [default: DIR/train and DIR/val, else a tenth of DIR]",
        ),
        click.option(
            "--detector",
            help="whole photos, bundled to cut faces out, none for aligned crops, or a YuNet file  "
            "[default: bundled where --begin names an encoder of faces, else whole]",
        ),
        click.option(
            "--teacher-detector",
            help="What cuts the teacher's crops, without --mix and --bend  [default: --detector; "
            "bundled for a teacher of faces where that is whole, whole for one of whole photos]",
        ),
        click.option(
            "--workers",
            type=click.IntRange(0),
            help="Processes that prepare photos  [default: one fewer than cores, at most 8]",
        ),
        click.option(
            "--faces/--no-faces",
            "with_faces",
            default=True,
            show_default=True,
            help="Whether the report shows photographs.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _out_option(default: str) -> Callable[[_F], _F]:
    return click.option(
        "--out",
        type=click.Path(path_type=Path),
        default=Path(default),
        show_default=True,
        help="The run folder; the same command goes on with what lies there.",
    )


@click.command("train")
@_data_options
@_out_option("facedb.run")
@_recipe_options
@shared
def train_command(options: Shared, recipe_name: str, **values: Any) -> int:
    """Train an encoder on DIR, which holds a folder per person.

    The run folder gets the encoder bundle, a log, figures and report.html. Interrupted or killed,
    the same command goes on where it was, to the same result.

    \b
      facedb train photos --val others --recipe own --out run
      facedb index photos --encoder run/encoder -g trained.gallery
    """
    train = _loop()
    with _progress() as (progress, after_epoch):
        request = _request(options, recipe_name, values, progress, after_epoch)
        report = train(request)
    for path, reason in report.left_out:
        click.echo(f"left out: {path}: {reason}", err=True)
    click.echo(as_json("train", report) if options.as_json else training_text(report))
    return 0


@click.command("tune", short_help="Search at random for a better recipe of training.")
@_data_options
@_out_option("facedb.tune")
@click.option(
    "--trials", type=click.IntRange(1), default=20, show_default=True, help="Runs in all."
)
@click.option(
    "--pruner",
    type=click.Choice(["none", "median", "hyperband"]),
    default="none",
    show_default=True,
    help="Ends trials that fall behind.",
)
@_recipe_options
@shared
def tune_command(options: Shared, recipe_name: str, trials: int, pruner: str, **values: Any) -> int:
    """Search at random for a better recipe on DIR, which holds a folder per person.

    Drawn: learning rate, batch size, margin, length of the embedding and weight decay. The search
    lies in the folder of --out; the same command with more trials goes on.

    \b
      facedb tune photos --val others --recipe own --trials 20 --epochs 3
    """
    _loop()
    from facedb.training.tune import TuneRequest, tune

    with _progress() as (progress, after_epoch):
        request = _request(options, recipe_name, values, progress, after_epoch)
        report = tune(TuneRequest(request, trials, pruner))
    click.echo(as_json("tune", report) if options.as_json else tuning_text(report))
    return 0


def _loop() -> Any:
    try:
        from facedb.training.loop import train
    except ImportError as error:
        raise DependencyMissing(
            f"training needs more packages ({error.name} is missing); from a clone: "
            "pip install '.[cpu,train]'"
        ) from error
    return train


def _request(
    options: Shared,
    recipe_name: str,
    values: dict[str, Any],
    progress: Any,
    after_epoch: Callable[[EpochRow], None],
) -> TrainRequest:
    import os

    from facedb.training.networks import usual_detector
    from facedb.training.request import TrainRequest

    names = {entry.name for entry in fields(Recipe)}
    given = {name: values.pop(name) for name in names & values.keys()}
    overrides = {name: value for name, value in given.items() if value is not None}
    if values["workers"] is None:
        values["workers"] = min(8, max(1, (os.cpu_count() or 1) - 1))
    made = recipe(recipe_name, overrides)
    return TrainRequest(
        # `shared` gathers every option of this name.
        detector=options.detector or usual_detector(made),
        recipe=made,
        device=cast("Device", options.device),
        progress=progress,
        after_epoch=after_epoch,
        **values,
    )


@contextmanager
def _progress() -> Iterator[tuple[Any, Callable[[EpochRow], None]]]:
    """A bar on a terminal, and a line an epoch everywhere, on stderr."""
    logging.getLogger("facedb").setLevel(logging.INFO)

    def line(row: EpochRow) -> None:
        click.echo(_epoch_line(row), err=True)

    if not sys.stderr.isatty():
        yield None, line
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def tell(words: str, done: int, total: int) -> None:
            if bar.tasks[0].description != words:
                bar.reset(task, description=words)
            bar.update(task, completed=done, total=total)

        yield tell, lambda row: console.print(_epoch_line(row), highlight=False, soft_wrap=True)


def _epoch_line(row: EpochRow) -> str:
    shown = {
        "AUC": row.metrics["cross_photo_auc"],
        "TAR at FAR 1 %": row.metrics["cross_photo_tar_at_far_1e-2"],
        "rank-1": row.metrics["cross_photo_rank1"],
        "pairs as published": row.metrics["pair_accuracy"],
    }
    figures = ", ".join(f"{name} {value:.1%}" for name, value in shown.items() if value is not None)
    return (
        f"epoch {row.epoch}: loss {row.loss:.4f}; {figures}; {row.images_per_second:.0f} photos/s, "
        f"{row.waiting:.0%} waiting; {row.crossing:.1%} of positives cross photos"
    )
