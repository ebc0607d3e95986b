"""Photos into a gallery: a folder of people, or photos under a name."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable

from facedb.doubts import doubts
from facedb.encoder import Encoder
from facedb.enroller import Enroller, stat_of
from facedb.errors import InputError
from facedb.faces import Detector
from facedb.gallery import Gallery
from facedb.moves import add_moves, vanished
from facedb.outcome import IndexReport
from facedb.photos import (
    PeopleWalk,
    PersonPhoto,
    PhotoWalk,
    Refusal,
    reasons,
    walk_people,
    walk_photos,
)
from facedb.pipeline import encode_photos
from facedb.store import FileRow
from facedb.types import Progress


def index_folder(
    gallery: Gallery,
    encoder: Encoder,
    detector: Detector,
    folder: str,
    *,
    threshold: Callable[[], float | None],
    prune: bool = False,
    progress: Progress | None = None,
) -> IndexReport:
    """Enroll every photo of a folder that holds a sub-folder per person.

    Files that have not changed since they were last read cost nothing; a killed run goes on where
    it was, having lost at most the last ten seconds.

    Args:
        threshold: by which distance the gallery decides, asked once everybody is enrolled.
        prune: also remove the templates whose files below `folder` are gone.

    Raises:
        InputError: `folder` is empty, as one is where a drive is not mounted.
    """
    began, since = time.monotonic(), gallery.store.revision()
    top = os.path.abspath(folder)
    walk = walk_people(top)
    known = gallery.store.files_under(top)
    if prune and known and not os.listdir(top):
        raise InputError(
            f"{top}: this folder is empty, and {len(known)} files of it are known: is a drive not "
            "mounted? Nothing was removed; if they are to go, put any file there and prune again"
        )
    report = IndexReport.of(len(walk.entries), walk.skipped)
    if not known:  # it is new
        report.nested = walk.nested(top, gallery.store.names())
    enroller = Enroller(gallery, encoder, detector, report, known, replacing=True)
    enroller.run(_to_read(walk, known, report), progress)
    gone = vanished(walk, known)
    if prune:
        removed, gone = _forget(gallery, gone), []
        report.removed += removed
        # A photo that was moved to another person's folder is free to be theirs now.
        if removed:
            enroller.free()
    if gone or enroller.elsewhere:
        add_moves(report, gallery.store, walk, gone, enroller.elsewhere)
    report.refused.sort(key=lambda refusal: refusal.path)
    return _finished(report, gallery, threshold, began, since, enroller.made)


def _to_read(walk: PeopleWalk, known: dict[str, FileRow], report: IndexReport) -> list[PersonPhoto]:
    """The photos that are new or have changed; the report hears of the others."""
    todo: list[PersonPhoto] = []
    for entry in walk.entries:
        row = known.get(entry.path)
        if row is None or not _unchanged(entry, row):
            todo.append(entry)
        elif row.reason is not None:
            report.refused.append(Refusal(row.path, row.reason))
    report.unchanged = len(walk.entries) - len(todo)
    return todo


def enroll_photos(
    gallery: Gallery,
    encoder: Encoder,
    detector: Detector,
    name: str,
    photos: Iterable[str],
    *,
    threshold: Callable[[], float | None],
    progress: Progress | None = None,
) -> IndexReport:
    """Enroll photo files, or all photos of folders, under a name.

    It only ever adds: a path that was enrolled before may hold another photo, of anybody, now.
    """
    began, since = time.monotonic(), gallery.store.revision()
    walk = walk_photos(photos)
    entries = [PersonPhoto(name, os.path.abspath(path)) for path in walk.paths]
    report = IndexReport.of(len(entries), walk.skipped)
    known = gallery.store.files_at([entry.path for entry in entries])
    enroller = Enroller(gallery, encoder, detector, report, known, replacing=False)
    enroller.run(entries, progress)
    return _finished(report, gallery, threshold, began, since, enroller.made)


def barren(
    encoder: Encoder,
    detector: Detector,
    walk: PeopleWalk | PhotoWalk,
    progress: Progress | None = None,
) -> IndexReport | None:
    """The report where no photo can be enrolled; None as soon as one can.

    Asked before a gallery is made, so that none is left behind which holds nobody.
    """
    began = time.monotonic()
    found = walk.paths if isinstance(walk, PhotoWalk) else [entry.path for entry in walk.entries]
    report = IndexReport.of(len(found), walk.skipped)
    paths = [os.path.abspath(path) for path in found]
    for part in (paths[:1], paths[1:]):  # mostly the first shows somebody: no more are read twice
        for result in encode_photos(part, detector, encoder):
            if result.unusable is None:
                return None
            report.refused.append(Refusal(result.path, result.unusable))
            if progress is not None:
                progress(len(report.refused) - len(walk.skipped), len(paths))
    report.refused.sort(key=lambda refusal: refusal.path)
    report.seconds = time.monotonic() - began
    return report


def _finished(
    report: IndexReport,
    gallery: Gallery,
    threshold: Callable[[], float | None],
    began: float,
    since: int,
    made: Collection[str],
) -> IndexReport:
    """The report of the photos enrolled after the revision `since`, once the gallery is settled."""
    gallery.settle()
    report.people = gallery.store.count_people()
    if report.enrolled:
        new = (one for one in gallery.store.templates(since) if one.sha256 in made)
        found = doubts(gallery, new, threshold(), since)
        report.several_faces, report.poor = found.several_faces, found.poor
        report.lookalikes, report.twice = found.lookalikes, found.twice
    report.seconds = time.monotonic() - began
    return report


def _unchanged(entry: PersonPhoto, row: FileRow) -> bool:
    stat = stat_of(entry.path)
    return (
        stat is not None
        and (stat.st_size, stat.st_mtime_ns) == (row.size, row.mtime_ns)
        and row.identity == entry.identity
        and reasons.owner_in(row.reason) is None
        and not reasons.may_pass(row.reason or "")
    )


def _forget(gallery: Gallery, rows: list[FileRow]) -> int:
    if not rows:
        return 0
    with gallery.writing() as writer:
        writer.forget_files([row.path for row in rows])
        return writer.remove_orphans([row.sha256 for row in rows if row.sha256])
