"""Photo files are encoded, and committed to a gallery some seconds' worth at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TypeAlias

from facedb.encoder import Encoder
from facedb.faces import Detector
from facedb.gallery import Gallery
from facedb.moves import Enrolled
from facedb.outcome import IndexReport
from facedb.photos import PersonPhoto, Refusal, reasons
from facedb.pipeline import Encoded, encode_photos
from facedb.store import FileRow, NewTemplate, Writer
from facedb.types import Progress

COMMIT_SECONDS = 10.0
_COMMIT_PHOTOS = 2000

_Read: TypeAlias = tuple[PersonPhoto, os.stat_result | None, Encoded]
"""A photo file, its state before it was read, and what became of it."""


class Enroller:
    """Enrolls photo files, and tells the report of each.

    Attributes:
        elsewhere: refused file -> what it shows, and as whom that is enrolled.
        made: sha256 digests of the photos enrolled.
    """

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
        """
        Args:
            known: path -> what was remembered of the file before.
            replacing: whether a file's new photo takes the place of the one it held before.
        """
        self._gallery = gallery
        self._encoder = encoder
        self._detector = detector
        self._report = report
        self._known = known
        self._replacing = replacing
        self._batch: list[_Read] = []
        self._again: list[PersonPhoto] = []
        self.elsewhere: dict[PersonPhoto, Enrolled] = {}
        self.made: set[str] = set()

    def run(self, entries: Sequence[PersonPhoto], progress: Progress | None) -> None:
        """Enroll these files; interrupted, it keeps what it has encoded."""
        # Read before the photo is: a file that changes meanwhile is read again next time.
        stats = [stat_of(entry.path) for entry in entries]
        encoded = encode_photos(
            (entry.path for entry in entries),
            self._detector,
            self._encoder,
            known=self._gallery.store,
        )
        committed, removed = time.monotonic(), self._report.removed
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
            self._commit()
        again, self._again = self._again, []
        if again:
            self.run(again, None)
        if self._report.removed > removed:
            self.free()

    def free(self) -> None:
        """Enroll, after all, refused files whose photo nobody is enrolled by any more.

        So it is where files changed places: each shows what the other was enrolled from.
        """
        store = self._gallery.store
        free = sorted(entry for entry, shown in self.elsewhere.items() if shown.sha256 not in store)
        for entry in free:
            del self.elsewhere[entry]
        paths = {entry.path for entry in free}
        self._report.refused = [one for one in self._report.refused if one.path not in paths]
        if free:
            self.run(free, None)

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
        self._report.enrolled += len(templates)
        made = {template.sha256 for template in templates}
        self.made |= made
        self._count_copies([row for row in rows if row.reason is None], made)

    def _replaced(self, rows: list[FileRow]) -> list[str]:
        """Digests that a file no longer has; one that cannot be read any more keeps its own."""
        before = [
            (self._known[row.path].sha256, row.sha256) for row in rows if row.path in self._known
        ]
        return [old for old, new in before if old is not None and old != new]

    def _count_copies(self, rows: list[FileRow], made: set[str]) -> None:
        """Tell copies of enrolled photos from files that were moved, whose old paths are forgotten.

        Args:
            rows: of files whose photo is enrolled for their person.
            made: the photos enrolled just now, each by the first of these files that shows it.
        """
        first, copies = set(made), []
        for row in rows:
            known = self._known.get(row.path)
            if row.sha256 in first:
                first.discard(row.sha256)
            elif known is not None and known.sha256 == row.sha256:
                self._report.unchanged += 1
            else:
                copies.append(row)
        paths = self._gallery.store.paths_of([row.sha256 for row in copies if row.sha256])
        gone: set[str] = set()
        for row in copies:
            others = set(paths.get(row.sha256 or "", ())) - {row.path}
            there = set(filter(os.path.exists, others))
            gone |= others - there
            self._report.duplicates += bool(there)
            self._report.unchanged += not there
        if gone:
            with self._gallery.writing() as writer:
                writer.forget_files(sorted(gone))

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
            digest = result.sha256 or ""
            owner, reason = owners.get(digest), None
            if owner is None and result.known:
                # It was enrolled when it was read, by a file that shows another photo now.
                self._again.append(entry)
                continue
            if owner is None:
                reason = result.unusable
                if reason is None:
                    owners[digest] = person
                    templates.append(new_template(entry.identity, result))
            elif owner != person:
                reason = reasons.enrolled_as(owner)
                self.elsewhere[entry] = Enrolled(digest, owner)
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
        held = before.sha256 if before is not None else None
        theirs = reasons.owner_in(reason) is not None
        if theirs and held is not None and held == result.sha256:
            return None  # it is the very file that the other person was enrolled from
        digest = None if theirs else result.sha256
        if reason is not None and held is not None and not (self._replacing and result.sha256):
            digest = held
        if stat is None:
            return None
        size, changed = stat.st_size, stat.st_mtime_ns
        return FileRow(entry.path, entry.identity, size, changed, digest, reason)


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


def stat_of(path: str) -> os.stat_result | None:
    """The file's state; None where it cannot be asked for."""
    try:
        return os.stat(path)
    except OSError:
        return None
