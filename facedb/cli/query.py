"""`facedb query` and `facedb compare`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby
from typing import TYPE_CHECKING, cast

import click
from click.core import ParameterSource

from facedb.cli.options import (
    Shared,
    deciding_options,
    model_options,
    progress_bar,
    shared,
    threshold_option,
)
from facedb.render import (
    CSV_COLUMNS,
    answer_rows,
    answer_text,
    as_csv,
    as_json,
    comparison_text,
    counted,
)
from facedb.render_index import left_out_lines

if TYPE_CHECKING:
    from io import BufferedReader

    from facedb.types import PhotoAnswer


@click.command("query")
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO...")
@click.option(
    "-k",
    "--k",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="How many people to name for a face, nearest first.",
)
@click.option(
    "--faces",
    type=click.Choice(["all", "largest"]),
    default="all",
    show_default=True,
    help="Every face, or the one that counts: the largest near the middle.",
)
@click.option("--csv", is_flag=True, help="Write CSV: a line a candidate.")
@click.option("--exit-code", is_flag=True, help="Exit with 3 when a face is not identified.")
@click.option(
    "--picture",
    metavar="FILE.png",
    help="Draw the probe with boxes and names, and its nearest gallery faces beside it.",
)
@shared
@model_options
@deciding_options
def query_command(
    options: Shared,
    photos: tuple[str, ...],
    k: int,
    faces: str,
    csv: bool,
    exit_code: bool,
    picture: str | None,
) -> int:
    """Who is in PHOTO, how close, accepted or not.

    PHOTO may be a folder, whose photos are all taken, or - to read paths from stdin, each
    answered as it comes. A stranger is "not identified". With --json, a line a photo.

    \b
      facedb query party.jpg
      facedb query inbox/ --faces largest --csv > who.csv
      find . -name '*.jpg' | facedb query - --json
    """
    if csv and options.as_json:
        raise click.UsageError("--csv and --json exclude each other")
    blocks = _blocks(photos)
    if picture is not None:
        blocks = iter([list(chain.from_iterable(blocks))])
    told = _Told()
    with options.open() as db:
        _ = db.gallery  # missing, it is the first thing to say
        if csv:
            click.echo(as_csv([CSV_COLUMNS]))
        for paths, closed in map(_found, blocks):
            told.unread += closed
            if picture is not None and len(paths) != 1:
                raise click.UsageError(f"--picture draws one photo, not {len(paths)}")
            for answer in db.identify_photos(paths, k, faces):  # type: ignore[arg-type]
                _show(options, answer, csv)
                told.count(answer)
                if picture is not None and not _unread(answer):
                    from facedb.picture import draw_answer

                    draw_answer(answer, picture)
    if not told.photos and not told.unread:
        click.echo(f"no photos in {', '.join(photos)}", err=True)
    elif told.photos > 1 and not csv and not options.as_json:
        click.echo(told.words(), err=True)
    if told.unread:
        return 4
    return 3 if exit_code and told.unsure else 0


@dataclass(slots=True)
class _Told:
    """What was told of so many photos: of how many not everybody is known, or nobody was seen."""

    photos: int = 0
    unread: int = 0
    unsure: int = 0
    faces: int = 0
    identified: int = 0

    def count(self, answer: PhotoAnswer) -> None:
        named = sum(face.identity is not None for face in answer.faces)
        self.photos += 1
        self.unread += _unread(answer)
        self.unsure += not answer.faces or named < len(answer.faces)
        self.faces += len(answer.faces)
        self.identified += named

    def words(self) -> str:
        faces = counted(self.faces, "face")
        return f"{self.photos:,} photos, {faces}: {self.identified:,} identified"


def _found(block: Sequence[str]) -> tuple[list[str], int]:
    """The photo files named, folders walked, and how many of these could not be opened.

    Says what is left out.
    """
    from facedb.photos import walk_photos

    walk = walk_photos(block)
    for line in left_out_lines(walk.skipped):
        click.echo(line, err=True)
    closed = [item for item in walk.skipped if _not_answered(item.reason)]
    return walk.paths, len(closed)


def _not_answered(reason: str) -> bool:
    """Whether a walk left out what may well have been a photo that was asked about."""
    from facedb.photos import reasons

    return reason == reasons.BAD_NAME or reasons.may_pass(reason)


def _blocks(photos: Sequence[str]) -> Iterator[list[str]]:
    """The paths given; those from stdin as they come."""
    for standing_for_stdin, given in groupby(photos, "-".__eq__):
        if standing_for_stdin:
            yield from _from_stdin()
        else:
            yield list(given)


def _from_stdin() -> Iterator[list[str]]:
    """The lines of stdin, at once as many as have come: one, or a thousand of a long list."""
    rest, stdin = b"", cast("BufferedReader", sys.stdin.buffer)
    while data := stdin.read1(1 << 16):
        *lines, rest = (rest + data).split(b"\n")
        yield _paths(lines)
    if rest:
        yield _paths([rest])


def _paths(lines: Sequence[bytes]) -> list[str]:
    return [os.fsdecode(line.rstrip(b"\r")) for line in lines if line.strip()]


def _unread(answer: PhotoAnswer) -> bool:
    from facedb.photos.reasons import NO_FACE

    return answer.reason not in (None, NO_FACE)


def _show(options: Shared, answer: PhotoAnswer, csv: bool) -> None:
    unread = _unread(answer)
    if unread:
        click.echo(f"left out: {answer.path}: {answer.reason}", err=True)
    if options.as_json:
        click.echo(as_json("query", answer))
    elif csv:
        click.echo(as_csv(answer_rows([answer])))
    elif not unread:
        click.echo(answer_text(answer))


@click.command("compare")
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@click.option("--exit-code", is_flag=True, help="Exit with 3 unless they are one person.")
@shared
@model_options
@partial(threshold_option, default="the encoder's for a gallery of one person")
def compare_command(options: Shared, one: str, other: str, exit_code: bool) -> int:
    """Whether photos A and B show one person; needs no gallery.

    Of several faces in a photo the largest near the middle counts.

    \b
      facedb compare passport.jpg selfie.jpg
    """
    named = options.gallery_from
    if named is ParameterSource.DEFAULT and (options.encoder or options.detector):
        options = options.without_gallery()  # which would insist on its own
    with options.open() as db, progress_bar("comparing"):
        if named is ParameterSource.COMMANDLINE:
            options.say_if_missing(db)
        comparison = db.compare(one, other)
    text = comparison_text(comparison, (one, other))
    click.echo(as_json("compare", comparison) if options.as_json else text)
    return 3 if exit_code and not comparison.same else 0
