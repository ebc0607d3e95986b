"""An open store: everything that reads, and the door to everything that writes."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from facedb.errors import (
    EncoderMismatch,
    GalleryDamaged,
    GalleryError,
    GalleryMissing,
    GalleryReadOnly,
)
from facedb.store import queries
from facedb.store.connection import (
    BUSY_SECONDS,
    FILE_NAME,
    blocks,
    busy,
    holds_store,
    may_write,
    new_engine,
    open_engine,
    place,
    translated,
)
from facedb.store.records import FileRow, Person, Pin, Snapshot, State, StoredTemplate
from facedb.store.tables import (
    READABLE_VERSIONS,
    SCHEMA_VERSION,
    alias_table,
    file_table,
    gallery_table,
    identity_table,
    metadata,
    reencoded_table,
    removal_table,
    snapshot_table,
    template_table,
)
from facedb.store.writer import Writer
from facedb.types import Embeddings

_logger = logging.getLogger("facedb")


class Store:
    """An open store. Threads may share it: each call takes its own connection from the pool.

    Attributes:
        folder: the gallery's folder.
        writable: whether this user may write it.
        pin: what its templates were made with.
    """

    def __init__(self, folder: Path, engine: sa.Engine, writable: bool) -> None:
        self.folder = folder
        self.writable = writable
        self._engine = engine
        self._turn = threading.Lock()
        with translated(folder), engine.connect() as connection:
            row = connection.execute(queries.GALLERY).mappings().one()
        self._file = os.path.abspath(folder / FILE_NAME)
        self._place = place(self._file)  # after SQLite has opened it: overlays move a file then
        if row["schema_version"] not in READABLE_VERSIONS:
            raise GalleryError(
                f"{folder}: made by another version of facedb (schema {row['schema_version']}, "
                f"this one reads {SCHEMA_VERSION}); open it with the facedb that made it"
            )
        self.pin = _pin(row)

    @classmethod
    def create(cls, folder: Path, pin: Pin, index_kind: str = "flat") -> Store:
        """Make an empty store in `folder`; of two that race, the first wins and both open it."""
        if not holds_store(folder) and folder.exists() and not folder.is_dir():
            raise GalleryError(f"{folder}: is a file; a gallery is a folder, name another with -g")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GalleryError(f"{folder}: cannot make this folder: {error.strerror}") from error
        engine = new_engine(folder)
        row = {
            "id": 1,
            "schema_version": SCHEMA_VERSION,
            "uuid": uuid.uuid4().hex,
            "revision": 0,
            "index_kind": index_kind,
            "created_at": time.time(),
            **asdict(pin),
        }
        with translated(folder), engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA page_size = 16384")
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            metadata.create_all(connection)
            if connection.execute(sa.select(gallery_table.c.id)).first() is None:
                connection.execute(sa.insert(gallery_table), row)
            connection.commit()
        return cls(folder, engine, writable=True)

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open an existing store, for reading only where this user may not write it.

        Raises:
            GalleryMissing, GalleryDamaged, GalleryReadOnly, GalleryError (another schema, or this
            user may not enter the folder).
        """
        if not holds_store(folder):
            if folder.is_file():
                raise GalleryMissing(
                    f"{folder}: is a file; a gallery is a folder, name one with -g"
                )
            raise GalleryMissing(
                f"{folder}: there is no gallery here; make one: facedb index DIR -g {folder}"
            )
        writable = may_write(folder)
        try:
            return cls(folder, open_engine(folder, writable), writable)
        except (GalleryError, sa.exc.NoResultFound) as error:
            if isinstance(error, sa.exc.NoResultFound) or "no such table" in str(error):
                raise GalleryDamaged(
                    f"{folder / FILE_NAME}: not a facedb store, or one whose making was cut "
                    "short; delete the folder and index again"
                ) from error
            raise

    def close(self) -> None:
        """Give every connection back; SQLite merges the log when the last one closes."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection for this package's own queries; GalleryMissing when not `in_place`."""
        if not self.in_place():
            raise GalleryMissing(
                f"{self.folder}: the gallery that was opened is gone from there, or another was "
                "put in its place; open it again"
            )
        with translated(self.folder), self._engine.connect() as connection:
            yield connection

    def in_place(self) -> bool:
        """Whether the folder still holds the file that was opened."""
        return place(self._file) == self._place

    @contextmanager
    def _reading_vectors(self) -> Iterator[sa.Connection]:
        """A connection to one state of the store, whose vectors are those of its pin.

        Raises:
            EncoderMismatch: the templates were made anew since this store was opened.
        """
        with self.reading() as connection:
            connection.exec_driver_sql("BEGIN")
            self.check_encoder(_pin(connection.execute(queries.GALLERY).mappings().one()).made_by)
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """One write transaction: the revision rises, and the end of the block commits.

        Raises:
            GalleryReadOnly, GalleryBusy, GalleryFull, EncoderMismatch (the templates were made
            anew since this store was opened); nothing of the block is then kept.
        """
        if not self.writable:
            raise GalleryReadOnly(
                f"{self.folder}: this gallery cannot be written by this user; it can be queried"
            )
        with self._turn_to_write(), self.reading() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            row = connection.execute(queries.GALLERY).mappings().one()
            self.check_encoder(_pin(row).made_by)
            if row["schema_version"] < SCHEMA_VERSION:
                metadata.create_all(connection)
                connection.execute(sa.update(gallery_table).values(schema_version=SCHEMA_VERSION))
            yield Writer(connection)
            connection.commit()

    @contextmanager
    def _turn_to_write(self) -> Iterator[None]:
        """SQLite has one writer: the others wait here in line, and hold no connection."""
        if not self._turn.acquire(timeout=BUSY_SECONDS):
            raise busy(self.folder)
        try:
            yield
        finally:
            self._turn.release()

    def check_encoder(self, made_by: str) -> None:
        """EncoderMismatch when the templates were made anew since this store was opened."""
        if made_by != self.pin.made_by:
            raise EncoderMismatch(
                f"{self.folder}: this gallery was re-encoded, or replaced by one of another "
                "encoder, since it was opened; open it again"
            )

    def state(self) -> State:
        """Revision, index kind and snapshot, read together."""
        with self.reading() as connection:
            connection.exec_driver_sql("BEGIN")
            gallery = connection.execute(queries.GALLERY).mappings().one()
            row = connection.execute(sa.select(snapshot_table)).mappings().one_or_none()
        snapshot = None
        if row is not None:
            snapshot = Snapshot(**{name: row[name] for name in Snapshot.__dataclass_fields__})
        return State(
            gallery["uuid"],
            _pin(gallery).made_by,
            gallery["revision"],
            gallery["index_kind"],
            snapshot,
        )

    def revision(self) -> int:
        """The number of the last committed write."""
        with self.reading() as connection:
            return int(connection.execute(queries.REVISION).scalar_one())

    def count(self) -> int:
        """How many templates are stored."""
        with self.reading() as connection:
            return int(connection.execute(queries.COUNT).scalar_one())

    def added(self, after: int, upto: int) -> Iterator[tuple[NDArray[np.int64], Embeddings]]:
        """Templates of revisions after..upto by rising id: blocks of int64[n], float32[n, d]."""
        columns = template_table.c
        query = sa.select(columns.id, columns.vector).order_by(columns.id)
        # From the beginning, the table in its own order is faster than the index on revision.
        wanted = (
            columns.revision.between(after + 1, upto) if after else columns.revision + 0 <= upto
        )
        query = query.where(wanted)
        with self._reading_vectors() as connection:
            result = connection.execute(query, execution_options={"yield_per": 8192})
            for block in result.partitions():
                ids = np.array([row[0] for row in block], dtype=np.int64)
                yield ids, self._vectors(row[1] for row in block)

    def removed(self, after: int, upto: int) -> NDArray[np.int64]:
        """int64[n]: templates removed in the revisions after..upto, as far as still on record."""
        columns = removal_table.c
        query = sa.select(columns.template_id).where(
            columns.revision > after, columns.revision <= upto
        )
        with self.reading() as connection:
            return np.array(connection.execute(query).scalars().all(), dtype=np.int64)

    def pending(self, revision: int) -> tuple[int, int]:
        """How many templates were added after `revision`, and how many removals are on record."""
        added = sa.select(sa.func.count()).where(template_table.c.revision > revision)
        removed = sa.select(sa.func.count()).select_from(removal_table)
        with self.reading() as connection:
            row = connection.execute(
                sa.select(added.scalar_subquery(), removed.scalar_subquery())
            ).one()
        return int(row[0]), int(row[1])

    def identity_ids(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """int64[n] template ids, rising, and int64[n] the identity id of each."""
        with self.reading() as connection:
            # The index on identity_id holds both numbers: no vector is read.
            result = connection.exec_driver_sql(
                "SELECT id, identity_id FROM template INDEXED BY ix_template_identity_id"
            )
            rows = result.cursor.fetchall() if result.cursor is not None else []
        table = np.array(rows, dtype=np.int64).reshape(-1, 2)
        table = table[np.argsort(table[:, 0])]
        return table[:, 0].copy(), table[:, 1].copy()

    def owners_of(self, template_ids: Sequence[int]) -> dict[int, int]:
        """template id -> identity id, for those of `template_ids` still stored."""
        found: dict[int, int] = {}
        with self.reading() as connection:
            for block in blocks(template_ids):
                for row in connection.execute(queries.OWNERS_OF, {"ids": block}):
                    found[row[0]] = row[1]
        return found

    def vectors_at(self, template_ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """template id -> float32[d], for those of `template_ids` still stored."""
        found: dict[int, NDArray[np.float32]] = {}
        with self._reading_vectors() as connection:
            for block in blocks(template_ids):
                for row in connection.execute(queries.VECTORS_AT, {"ids": block}):
                    found[row[0]] = self._vectors(row[1:])[0]
        return found

    def describe(self, template_ids: Sequence[int]) -> dict[int, StoredTemplate]:
        """template id -> where it came from, for those of `template_ids` still stored."""
        found: dict[int, StoredTemplate] = {}
        with self.reading() as connection:
            for block in blocks(template_ids):
                for row in connection.execute(queries.DESCRIBE, {"ids": block}):
                    found[row[0]] = _stored_template(row)
        return found

    def templates_of(self, identity_id: int) -> list[StoredTemplate]:
        """A person's templates by rising id."""
        query = queries.TEMPLATES.where(template_table.c.identity_id == identity_id)
        with self.reading() as connection:
            return [_stored_template(row) for row in connection.execute(query)]

    def templates(self) -> Iterator[StoredTemplate]:
        """All templates by rising id."""
        with self.reading() as connection:
            result = connection.execute(queries.TEMPLATES, execution_options={"yield_per": 4096})
            for row in result:
                yield _stored_template(row)

    def templates_to_reencode(self, made_by: str) -> list[StoredTemplate]:
        """Templates without a new vector of this encoder and detector."""
        columns = reencoded_table.c
        done = sa.select(columns.template_id).where(columns.made_by == made_by)
        query = queries.TEMPLATES.where(template_table.c.id.not_in(done))
        with self.reading() as connection:
            return [_stored_template(row) for row in connection.execute(query)]

    def people(self) -> list[Person]:
        """Everyone enrolled, by name."""
        with self.reading() as connection:
            counts = {row[0]: row[1] for row in connection.execute(queries.COUNTS)}
            aliases: dict[int, list[str]] = {}
            for name, identity_id in connection.execute(queries.ALIASES):
                aliases.setdefault(identity_id, []).append(name)
            rows = connection.execute(queries.PEOPLE).all()
        return [
            Person(
                identity_id, name, tuple(aliases.get(identity_id, ())), counts.get(identity_id, 0)
            )
            for identity_id, name in rows
        ]

    def names(self) -> set[str]:
        """Every name and alias."""
        query = sa.union_all(sa.select(identity_table.c.name), sa.select(alias_table.c.name))
        with self.reading() as connection:
            return set(connection.execute(query).scalars())

    def __contains__(self, sha256: object) -> bool:
        """Whether a photo of this digest is enrolled."""
        with self.reading() as connection:
            return connection.execute(queries.ENROLLED, {"sha256": sha256}).first() is not None

    def vectors_of(self, identity_ids: Sequence[int]) -> tuple[NDArray[np.int64], Embeddings]:
        """The templates of these identities: int64[n] owners, rising, and float32[n, d]."""
        owners: list[int] = []
        vectors: list[bytes] = []
        with self._reading_vectors() as connection:
            for block in blocks(sorted(identity_ids)):
                for row in connection.execute(queries.VECTORS_OF, {"ids": block}):
                    owners.append(row[0])
                    vectors.append(row[1])
        return np.array(owners, dtype=np.int64), self._vectors(vectors)

    def count_people(self) -> int:
        """How many identities are enrolled."""
        query = sa.select(sa.func.count()).select_from(identity_table)
        with self.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def files_under(self, folder: str) -> dict[str, FileRow]:
        """path -> what is remembered of the file, for the files anywhere below `folder`."""
        start = folder.rstrip(os.sep) + os.sep
        after = start[:-1] + chr(ord(os.sep) + 1)
        path = file_table.c.path
        query = sa.select(file_table).where(path >= start, path < after)
        return self._files(query)

    def files_left_out(self) -> list[FileRow]:
        """What is remembered of the files that could not be enrolled."""
        query = sa.select(file_table).where(file_table.c.reason.is_not(None))
        return list(self._files(query).values())

    def files_at(self, paths: Sequence[str]) -> dict[str, FileRow]:
        """path -> what is remembered of the file, for those of `paths` that are."""
        found: dict[str, FileRow] = {}
        for block in blocks(paths):
            found |= self._files(sa.select(file_table).where(file_table.c.path.in_(block)))
        return found

    def paths_of(self, digests: Sequence[str]) -> dict[str, list[str]]:
        """sha256 -> every remembered file of that photo, for those that have one."""
        found: dict[str, list[str]] = {}
        with self.reading() as connection:
            for block in blocks(digests):
                query = sa.select(file_table.c.sha256, file_table.c.path)
                for row in connection.execute(query.where(file_table.c.sha256.in_(block))):
                    found.setdefault(row[0], []).append(row[1])
        return found

    def files_of(self, names: Sequence[str]) -> dict[str, FileRow]:
        """path -> what is remembered of the file, for the files in folders of these names."""
        return self._files(sa.select(file_table).where(file_table.c.identity.in_(names)))

    def refused(self) -> int:
        """How many files are remembered as left out."""
        query = sa.select(sa.func.count()).where(file_table.c.reason.is_not(None))
        with self.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def _files(self, query: sa.Select[Any]) -> dict[str, FileRow]:
        with self.reading() as connection:
            rows = connection.execute(query).mappings()
            return {row["path"]: FileRow(**row) for row in rows}

    def integrity(self) -> list[str]:
        """What SQLite's own checks find wrong with the file; empty when it is sound."""
        with self.reading() as connection:
            rows = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        found = [str(row) for row in rows if row != "ok"]
        return found + [f"row {row[1]} of {row[0]} points nowhere" for row in broken]

    def empty_log(self) -> None:
        """Merge the write-ahead log into the store and cut it to nothing."""
        with self.reading() as connection:
            busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
        if busy:
            _logger.warning(
                "%s: another process is reading it; what was removed leaves the disk when that has "
                "finished and you run: facedb gallery rebuild -g %s",
                self.folder,
                self.folder,
            )

    def _vectors(self, blobs: Iterable[bytes]) -> Embeddings:
        flat = np.frombuffer(b"".join(blobs), dtype="<f4")
        if flat.size % self.pin.dim:
            raise GalleryDamaged(f"{self.folder}: a stored vector has the wrong length")
        return flat.reshape(-1, self.pin.dim)


def _pin(row: sa.RowMapping) -> Pin:
    return Pin(**{name: row[name] for name in Pin.__dataclass_fields__})


def _stored_template(row: Sequence[Any]) -> StoredTemplate:
    template_id, identity, sha256, photo, x, y, width, height, score = row
    return StoredTemplate(template_id, identity, sha256, photo or "", (x, y, width, height), score)
