"""Photos into a gallery: a folder of people, or photos under a name."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeAlias

from facedb.doubts import doubts
from facedb.encoder import Encoder
from facedb.errors import InputError
from facedb.faces import Detector
from facedb.gallery import Gallery
from facedb.moves import Enrolled, add_moves, vanished
from facedb.outcome import IndexReport, Refusal
from facedb.photos import (
    PeopleWalk,
    PersonPhoto,
    PhotoWalk,
    reasons,
    walk_people,
    walk_photos,
)
from facedb.pipeline import Encoded, encode_photos
from facedb.quality import UNRECOGNISABLE
from facedb.store import FileRow, NewTemplate, Writer

Progress: TypeAlias = Callable[[int, int], None]
"""Called with how many photos are done, and how many there are."""

_Read: TypeAlias = tuple[PersonPhoto, os.stat_result | None, Encoded]
"""A photo file, its state before it was read, and what became of it."""

NO_FACE = "no face found"
SAME_PHOTO = "the same photo is enrolled as "
COMMIT_SECONDS = 10.0
_COMMIT_PHOTOS = 2000


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
    enroller = _Enroller(gallery, encoder, detector, report, known, replacing=True)
    enroller.run(_to_read(walk, known, report), progress)
    gone = vanished(walk, known)
    if prune:
        removed, gone = _forget(gallery, gone), []
        report.removed += removed
        # A photo that was moved to another person's folder is free to be theirs now.
        if removed and (freed := enroller.elsewhere):
            enroller.elsewhere = {}
            report.refused = [item for item in report.refused if item.path not in freed]
            enroller.run([entry for entry in walk.entries if entry.path in freed], None)
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
    enroller = _Enroller(gallery, encoder, detector, report, known, replacing=False)
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
            reason = result.reason or unusable(result)
            if reason is None:
                return None
            report.refused.append(Refusal(result.path, reason))
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


class _Enroller:
    """Encodes entries and commits them at least every ten seconds."""

    def __init__(
        self,
        gallery: Gallery,
        encoder: Encoder,
        detector: Detector,
        report: IndexReport,
        known: dict[str, FileRow],
        *,
        replacing: bool,
    ) -> None:
        self._gallery = gallery
        self._encoder = encoder
        self._detector = detector
        self._report = report
        self._known = known
        self._replacing = replacing
        self._batch: list[_Read] = []
        self._again: list[PersonPhoto] = []
        self.elsewhere: dict[str, Enrolled] = {}
        self.made: set[str] = set()

    def run(self, entries: Sequence[PersonPhoto], progress: Progress | None) -> None:
        # Read before the photo is: a file that changes meanwhile is read again next time.
        stats = [_stat(entry.path) for entry in entries]
        encoded = encode_photos(
            (entry.path for entry in entries),
            self._detector,
            self._encoder,
            known=self._gallery.store,
        )
        committed = time.monotonic()
        try:
            for done, (entry, stat, result) in enumerate(
                zip(entries, stats, encoded, strict=True), start=1
            ):
                self._batch.append((entry, stat, result))
                late = time.monotonic() - committed >= COMMIT_SECONDS
                if late or len(self._batch) >= _COMMIT_PHOTOS:
                    self._commit()
                    committed = time.monotonic()
                if progress is not None:
                    progress(done, len(entries))
        finally:
            # An interrupted run keeps what it has encoded.
            self._commit()
        again, self._again = self._again, []
        if again:
            self.run(again, None)

    def _commit(self) -> None:
        batch, self._batch = self._batch, []
        if not batch:
            return
        with self._gallery.writing() as writer:
            rows, templates = self._sorted_out(batch, writer)
            writer.add_templates(templates)
            writer.put_files(rows)
            if self._replacing:
                self._report.removed += writer.remove_orphans(self._replaced(rows))
        self._count(rows, templates)

    def _replaced(self, rows: list[FileRow]) -> list[str]:
        """Digests that a file no longer has; one that cannot be read any more keeps its own."""
        before = [
            (self._known[row.path].sha256, row.sha256) for row in rows if row.path in self._known
        ]
        return [old for old, new in before if old is not None and old != new]

    def _sorted_out(
        self, batch: list[_Read], writer: Writer
    ) -> tuple[list[FileRow], list[NewTemplate]]:
        """The rows of files, and the templates that are new, each photo once."""
        digests = [result.sha256 for _, _, result in batch if result.sha256]
        owners = writer.owners_of_photos(digests)
        names = writer.names_of(sorted({entry.identity for entry, _, _ in batch}))
        rows: list[FileRow] = []
        templates: list[NewTemplate] = []
        for entry, stat, result in batch:
            person = names.get(entry.identity, entry.identity)
            reason = result.reason
            if result.sha256 is not None:
                owner = owners.get(result.sha256)
                if owner is None and result.known:
                    # It was enrolled when it was read, by a file that shows another photo now.
                    self._again.append(entry)
                    continue
                if owner is None:
                    reason = unusable(result)
                if owner is None and reason is None:
                    owners[result.sha256] = person
                    templates.append(new_template(entry.identity, result))
                elif owner is not None and owner != person:
                    reason = SAME_PHOTO + owner
                    self.elsewhere[entry.path] = Enrolled(result.sha256, owner)
            row = self._row(entry, stat, result, reason)
            if row is not None:
                rows.append(row)
            if reason is not None:
                self._report.refused.append(Refusal(entry.path, reason))
        return rows, templates

    def _row(
        self,
        entry: PersonPhoto,
        stat: os.stat_result | None,
        result: Encoded,
        reason: str | None,
    ) -> FileRow | None:
        """What to remember of the file: its digest is that of the template that came from it."""
        before = self._known.get(entry.path)
        digest = result.sha256
        if reason is not None and before is not None and before.sha256 is not None:
            if reason.startswith(SAME_PHOTO) and before.sha256 == digest:
                return None  # it is the very file that the other person was enrolled from
            digest = before.sha256
        elif reason is not None and reason.startswith(SAME_PHOTO):
            digest = None
        if stat is None:
            return None
        size, changed = stat.st_size, stat.st_mtime_ns
        return FileRow(entry.path, entry.identity, size, changed, digest, reason)

    def _count(
        self,
        rows: list[FileRow],
        templates: list[NewTemplate],
    ) -> None:
        self._report.enrolled += len(templates)
        enrolled = sum(1 for row in rows if row.reason is None)
        self._report.duplicates += max(0, enrolled - len(templates))
        self.made |= {template.sha256 for template in templates}


def unusable(result: Encoded) -> str | None:
    """Why a photo that was read cannot be enrolled, or None."""
    if not result.faces:
        return NO_FACE
    return UNRECOGNISABLE if result.qualities and result.qualities[0].unrecognisable else None


def new_template(identity: str, result: Encoded) -> NewTemplate:
    """What is stored of a photo that is not `unusable`."""
    assert result.sha256 is not None
    face = result.faces[0]
    return NewTemplate(
        identity,
        result.sha256,
        face.box,
        face.score,
        result.embeddings[0],
        quality=result.qualities[0] if result.qualities else None,
        faces=result.faces_found,
    )


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _unchanged(entry: PersonPhoto, row: FileRow) -> bool:
    stat = _stat(entry.path)
    return (
        stat is not None
        and (stat.st_size, stat.st_mtime_ns) == (row.size, row.mtime_ns)
        and row.identity == entry.identity
        and not (row.reason or "").startswith(SAME_PHOTO)
        and not reasons.may_pass(row.reason or "")
    )


def _forget(gallery: Gallery, rows: list[FileRow]) -> int:
    if not rows:
        return 0
    with gallery.writing() as writer:
        writer.forget_files([row.path for row in rows])
        return writer.remove_orphans([row.sha256 for row in rows if row.sha256])
