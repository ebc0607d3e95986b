"""`facedb query` and `facedb compare`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import click

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
)

if TYPE_CHECKING:
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
    help="Every face, or the one that counts.",
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

    PHOTO may be a folder, whose photos are all taken, or - to read paths from stdin. A stranger
    is "not identified". With --json, a line a photo.

    \b
      facedb query party.jpg
      facedb query inbox/ --faces largest --csv > who.csv
      find . -name '*.jpg' | facedb query - --json
    """
    from facedb.photos import walk_photos

    if csv and options.as_json:
        raise click.UsageError("--csv and --json exclude each other")
    if csv:
        click.echo(as_csv([CSV_COLUMNS]))
    walk = walk_photos(_named(photos))
    for item in walk.skipped:
        click.echo(f"left out: {item.path}: {item.reason}", err=True)
    if not walk.paths:
        click.echo("no photos there", err=True)
    if picture is not None and len(walk.paths) != 1:
        raise click.UsageError(f"--picture draws one photo, not {len(walk.paths)}")
    bad = unknown = 0
    with options.open() as db:
        for answer in db.identify_photos(walk.paths, k, faces):  # type: ignore[arg-type]
            _show(options, answer, csv)
            bad += answer.reason is not None
            unknown += not answer.faces or any(face.identity is None for face in answer.faces)
            if picture is not None and answer.reason is None:
                from facedb.picture import draw_answer

                draw_answer(answer, picture)
    if bad:
        return 4
    return 3 if exit_code and unknown else 0


def _named(photos: Iterable[str]) -> Iterable[str]:
    for photo in photos:
        if photo == "-":
            yield from (line.rstrip("\n") for line in sys.stdin if line.strip())
        else:
            yield photo


def _show(options: Shared, answer: PhotoAnswer, csv: bool) -> None:
    if answer.reason is not None:
        click.echo(f"left out: {answer.path}: {answer.reason}", err=True)
    if options.as_json:
        click.echo(as_json("query", answer))
    elif csv:
        click.echo(as_csv(answer_rows([answer])))
    elif answer.reason is None:
        click.echo(answer_text(answer))


@click.command("compare")
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@click.option("--exit-code", is_flag=True, help="Exit with 3 when they are different people.")
@shared
@model_options
@partial(threshold_option, default="the encoder's for a gallery of one person")
def compare_command(options: Shared, one: str, other: str, exit_code: bool) -> int:
    """Whether photos A and B show one person; needs no gallery.

    Of several faces in a photo the largest near the middle counts.

    \b
      facedb compare passport.jpg selfie.jpg
    """
    with options.open() as db, progress_bar("comparing"):
        options.say_if_missing(db)
        comparison = db.compare(one, other)
    text = comparison_text(comparison, (one, other))
    click.echo(as_json("compare", comparison) if options.as_json else text)
    return 3 if exit_code and not comparison.same else 0
