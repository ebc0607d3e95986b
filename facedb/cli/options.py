"""Options that commands share, and what they open."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from facedb.aggregation import Aggregation
    from facedb.device import Device
    from facedb.identify import FaceDB
    from facedb.index import IndexKind
    from facedb.types import Progress

SHARE = click.FloatRange(0.0, 1.0, min_open=True, max_open=True)
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Shared:
    """The options of every command."""

    gallery: str
    device: str
    as_json: bool
    encoder: str | None = None
    detector: str | None = None
    threshold: float | None = None
    index: str = "flat"
    fpir: float | None = None
    aggregation: str | None = None

    @contextmanager
    def open(self) -> Iterator[FaceDB]:
        """The gallery, closed at the end of the block."""
        from facedb.aggregation import DEFAULT_AGGREGATION
        from facedb.identify import FaceDB, Settings

        if self.threshold is not None and self.fpir is not None:
            raise click.UsageError("--threshold and --fpir exclude each other")
        settings = Settings(
            self.encoder,
            self.detector,
            cast("Device", self.device),
            cast("IndexKind", self.index),
            self.threshold,
            self.fpir,
            cast("Aggregation", self.aggregation or DEFAULT_AGGREGATION),
        )
        with FaceDB(self.gallery, settings) as db:
            yield db

    @property
    def gallery_from(self) -> ParameterSource | None:
        """Who named the gallery: the command line, the environment, or nobody."""
        return click.get_current_context().get_parameter_source("gallery")

    def without_gallery(self) -> Shared:
        """The same beside no gallery."""
        return replace(self, gallery=os.path.join(self.gallery, "none"))

    def say_if_missing(self, db: FaceDB) -> None:
        """A word where there is no gallery, for commands that do without one."""
        if not db.exists:
            click.echo(f"{self.gallery}: there is no gallery here; going on without", err=True)


def shared(command: _F) -> _F:
    """-g, --device and --json, gathered in one `Shared` argument together with the others."""
    options = [
        click.option(
            "-g",
            "--gallery",
            default="facedb.gallery",
            show_default=True,
            envvar="FACEDB_GALLERY",
            metavar="FOLDER",
            help="The gallery's folder (also FACEDB_GALLERY).",
        ),
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto",
            show_default=True,
            help="Where to encode and to search; cuda without a usable GPU is an error.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Write JSON instead of text."),
    ]
    return _with(options, _gathered(command))


def model_options(command: _F, default: str = "the gallery's") -> _F:
    """--encoder and --detector."""
    options = [
        click.option(
            "--encoder",
            metavar="ENCODER",
            help=f"A bundle folder, timm:MODEL or hf-hub:ID  [default: {default}]",
        ),
        click.option(
            "--detector",
            metavar="FILE",
            help="bundled, a YuNet .onnx file (also FACEDB_DETECTOR), or none where the photos "
            "are aligned crops already  [default: the gallery's, else bundled]",
        ),
    ]
    return _with(options, command)


def threshold_option(command: _F, default: str = "as calibrated, else the encoder's") -> _F:
    """-t/--threshold."""
    option = click.option(
        "-t",
        "--threshold",
        type=click.FloatRange(0.0, 2.0),
        callback=_a_number,
        help=f"The largest distance that accepts, in [0, 2]  [default: {default}]",
    )
    return _with([option], command)


def deciding_options(command: _F) -> _F:
    """-t/--threshold, --fpir and --aggregation."""
    share = click.option(
        "--fpir",
        type=SHARE,
        metavar="SHARE",
        help="Instead of a threshold, the share of strangers that may be accepted: 0.01 is one in "
        "a hundred; by facedb calibrate, or by what the bundled encoder's card knows.",
    )
    return _with([share, aggregation_option()], threshold_option(command))


def aggregation_option() -> Callable[[Any], Any]:
    """--aggregation."""
    return click.option(
        "--aggregation",
        type=click.Choice(["nearest-or-mean", "nearest", "mean", "top-3"]),
        help="How the distances to a person's photos become one: the nearest photo, their mean, "
        "the lesser of the two, or the three nearest  [default: nearest-or-mean]",
    )


def _a_number(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is no distance", ctx, param)
    return value


@contextmanager
def progress_bar(words: str) -> Iterator[Progress | None]:
    """A bar with rate and time left on stderr, where that is a terminal; else None."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(words, total=None, rate="")

        def progress(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:,.0f}/s" if speed else ""
            bar.update(task, completed=done, total=total, rate=rate)

        yield progress


def _with(options: Sequence[Callable[[Any], Any]], command: _F) -> _F:
    for option in reversed(options):
        command = option(command)
    return command


def _gathered(command: _F) -> _F:
    names = set(Shared.__dataclass_fields__)

    def gather(**values: Any) -> Any:
        known = {name: values.pop(name) for name in names & values.keys()}
        return command(Shared(**known), **values)

    gather.__name__ = command.__name__
    gather.__doc__ = command.__doc__
    gather.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    return gather  # type: ignore[return-value]
