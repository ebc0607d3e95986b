"""`facedb index` and `facedb enroll`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from facedb.cli.options import Shared, model_options, progress_bar, shared
from facedb.errors import InputError
from facedb.render import as_json
from facedb.render_index import index_text, left_out_lines
from facedb.typed import typed

if TYPE_CHECKING:
    from facedb.outcome import IndexReport

_LISTED = 20  # photos left out that are named one by one

_INDEX_KIND = click.option(
    "--index",
    type=click.Choice(["flat", "ivf"]),
    default="flat",
    show_default=True,
    help="For a new gallery: flat is exact; ivf answers single photos faster from a million on.",
)
_STRICT = click.option("--strict", is_flag=True, help="Exit with 4 when a photo was left out.")


@click.command("index")
@click.argument("folder", metavar="DIR")
@click.option("--prune", is_flag=True, help="Remove templates whose files in DIR are gone.")
@_STRICT
@_INDEX_KIND
@shared
@model_options
def index_command(options: Shared, folder: str, prune: bool, strict: bool) -> int:
    """Enroll every photo of DIR, which holds a folder per person.

    Folders inside a person's folder belong to that person; of several faces in a photo, the
    largest near the middle is taken. Nothing in DIR is moved or changed.
    Run it again whenever photos came or went: files that have not changed cost nothing, and a
    run that was interrupted goes on where it was.

    \b
      facedb index data/train
      facedb index photos -g family.gallery --prune
    """
    with options.open() as db, progress_bar("indexing") as progress:
        before = db.people.names() if db.exists else frozenset()
        report = db.index_folder(folder, prune=prune, progress=progress)
        new = db.people.names() - before if report.enrolled else frozenset()
        alike = db.people.beside(new) if new else {}
    code = _show(options, report, strict, folder)
    for name, other in alike.items():
        if name > other or other not in new:
            _say_beside(options, report, name, other)
    if not report.removed and (not report.people or _loose(report)):
        raise InputError(f"{folder}: nobody was enrolled; {_way_out(options, folder, report)}")
    return code


@click.command("enroll")
@click.argument("name")
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO...")
@_STRICT
@_INDEX_KIND
@shared
@model_options
def enroll_command(options: Shared, name: str, photos: tuple[str, ...], strict: bool) -> int:
    """Enroll photos of one person under NAME.

    PHOTO may be a folder, whose photos are all taken. Of several faces in a photo, the largest
    near the middle is taken.

    \b
      facedb enroll "Mira Solene" mira1.jpg mira2.jpg
    """
    if os.path.isfile(name) and not any(map(os.path.exists, photos)):
        raise click.UsageError(
            f"{name} is a file; the name comes first: facedb enroll NAME PHOTO..."
        )
    with options.open() as db, progress_bar("enrolling") as progress:
        other = db.people.alike(name) if db.exists else None
        report = db.enroll(name, photos, progress)
    if other is not None and report.enrolled:
        _say_beside(options, report, name, other)
    nothing = report.enrolled + report.duplicates + report.unchanged == 0
    code = _show(options, report, strict or nothing)
    _say_how_to_free(options, report)
    return code


def _say_beside(options: Shared, report: IndexReport, name: str, other: str) -> None:
    """That two names are nearly one, unless their faces said so already."""
    if {name, other} not in [{pair.name, pair.other} for pair in report.twice]:
        merge = typed("people merge", name, other, gallery=options.gallery)
        words = f"{name!r} stands beside {other!r}; if they are one person: {merge}"
        click.echo(words, err=True)


def _say_how_to_free(options: Shared, report: IndexReport) -> None:
    """What to type first where a photo is enrolled as somebody else."""
    from facedb.photos.reasons import owner_in

    for item in report.refused:
        if (owner := owner_in(item.reason)) is not None:
            photo = ("--photo", item.path)
            remove = typed("people remove", owner, gallery=options.gallery, options=photo)
            click.echo(f"if it is not {owner}: {remove}", err=True)
            return


def _way_out(options: Shared, folder: str, report: IndexReport) -> str:
    from facedb.photos import reasons

    if any(refusal.reason == reasons.NO_PERSON for refusal in report.refused):
        person, top = os.path.join(folder, "Mira", "..."), os.path.dirname(os.path.abspath(folder))
        enroll = typed("enroll", "NAME", folder, gallery=options.gallery)
        return (
            f"make a folder per person: {person}, or: {enroll}; if this is a person's folder "
            f"among others: {typed('index', top, gallery=options.gallery)}"
        )
    if report.photos:
        return "see above why each photo was left out"
    return "it holds no photos; index takes a folder that holds a folder of photos per person"


def _loose(report: IndexReport) -> bool:
    """Whether there are photos, and all of them lie outside a person's folder."""
    from facedb.photos import reasons

    loose = sum(refusal.reason == reasons.NO_PERSON for refusal in report.refused)
    return 0 < loose == report.photos


def _show(options: Shared, report: IndexReport, strict: bool, folder: str = "") -> int:
    told = {path for move in report.moved for path in move.paths}
    told |= {pair.path for pair in report.with_two}  # the summary says more of them
    refused = [item for item in report.refused if options.as_json or item.path not in told]
    for line in left_out_lines(refused, _LISTED):
        click.echo(line, err=True)
    if options.as_json:
        click.echo(as_json("index", report))
    else:
        click.echo(index_text(report, options.gallery, folder))
    return 4 if strict and report.refused else 0
