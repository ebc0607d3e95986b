"""Enrolled photos that lie with somebody else now, with two people, or nowhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from facedb.outcome import IndexReport, Moved, WithTwo
from facedb.photos import PeopleWalk, PersonPhoto, reasons
from facedb.store import FileRow, Store


class Enrolled(NamedTuple):
    """The photo that a refused file shows, and the person it is enrolled as."""

    sha256: str
    owner: str


def vanished(walk: PeopleWalk, known: dict[str, FileRow]) -> list[FileRow]:
    """Remembered files that are gone; a folder that could not be read hides its files only.

    One that holds no photos any more hides nothing.
    """
    walked = {entry.path for entry in walk.entries}
    hidden = tuple(item.path + os.sep for item in walk.skipped if item.reason != reasons.NO_PHOTOS)
    return [
        row
        for row in known.values()
        if row.path not in walked
        and not row.path.startswith(hidden)
        and not os.path.exists(row.path)
    ]


def add_moves(
    report: IndexReport,
    store: Store,
    walk: PeopleWalk,
    gone: list[FileRow],
    elsewhere: Mapping[PersonPhoto, Enrolled],
) -> None:
    """Say where photos are that are enrolled as somebody else, and which are gone.

    Args:
        gone: files that have vanished and are still remembered.
        elsewhere: refused file -> what it shows, and whose photo that is.
    """
    enrolled = {row.sha256 for row in gone if row.sha256 and row.reason is None}
    paths = store.paths_of([*enrolled, *(photo.sha256 for photo in elsewhere.values())])
    missing = {row.path for row in gone}
    walked = {entry.path for entry in walk.entries}
    moved: dict[tuple[str, str], list[str]] = {}
    for (person, path), photo in sorted(elsewhere.items(), key=lambda item: item[0].path):
        others = paths.get(photo.sha256, [])
        # Of a file and a link to it, to delete one would be to delete both.
        real = os.path.realpath(path)
        there = sorted(one for one in others if one in walked and os.path.realpath(one) != real)
        if there:
            report.with_two.append(WithTwo(path, there[0], photo.owner))
        elif others and missing.issuperset(others):
            moved.setdefault((photo.owner, person), []).append(path)
            enrolled.discard(photo.sha256)
    report.moved = [Moved(*names, tuple(files)) for names, files in sorted(moved.items())]
    report.vanished = sum(missing.issuperset(paths.get(digest, ())) for digest in enrolled)
