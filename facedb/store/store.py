"""An open store: how it is made, opened, read from and written to."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

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
    busy,
    holds_store,
    may_write,
    new_engine,
    open_engine,
    place,
    put_in_place,
    translated,
)
from facedb.store.lookups import Lookups, pin_of
from facedb.store.records import Pin
from facedb.store.tables import (
    READABLE_VERSIONS,
    SCHEMA_VERSION,
    bring_up_to_date,
    gallery_table,
    metadata,
)
from facedb.store.writer import Writer
from facedb.typed import typed

_logger = logging.getLogger("facedb")


class Store(Lookups):
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
        self.pin = pin_of(row)
        self._uuid = row["uuid"]
        sa.event.listen(engine, "connect", self._recognise)

    def _recognise(self, connection: sqlite3.Connection, _record: object) -> None:
        """While no connection held it, as after a fork, another may have got the file's number."""
        if connection.execute("SELECT uuid FROM gallery").fetchone() != (self._uuid,):
            self._place = None

    @classmethod
    def create(cls, folder: Path, pin: Pin, index_kind: str = "flat") -> Store:
        """Make an empty store in `folder`, or open the one that is there.

        It is made aside and comes whole, but on file systems without hard links, where it is made
        in its place. Of two that race, the first wins and both open it.
        """
        if not holds_store(folder) and folder.exists() and not folder.is_dir():
            raise GalleryError(f"{folder}: is a file; a gallery is a folder, name another with -g")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=".making-", dir=folder) as aside, translated(folder):
                cls._make(Path(aside), pin, index_kind)
                if not put_in_place(Path(aside, FILE_NAME), folder / FILE_NAME):
                    cls._make(folder, pin, index_kind)
        except OSError as error:
            raise GalleryError(
                f"{folder}: cannot make a gallery here: {error.strerror}; name another with -g"
            ) from error
        return cls.open(folder)

    @staticmethod
    def _make(folder: Path, pin: Pin, index_kind: str) -> None:
        """Write an empty store, unless there is one."""
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
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA page_size = 16384")
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            metadata.create_all(connection)
            if connection.execute(sa.select(gallery_table.c.id)).first() is None:
                connection.execute(sa.insert(gallery_table), row)
            connection.commit()
        engine.dispose()

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
                f"{folder}: there is no gallery here; make one: "
                f"{typed('index', 'DIR', gallery=folder)}"
            )
        writable = may_write(folder)
        try:
            return cls(folder, open_engine(folder, writable), writable)
        except (GalleryError, sa.exc.NoResultFound) as error:
            if isinstance(error, sa.exc.NoResultFound) or "no such table" in str(error):
                raise GalleryDamaged(
                    f"{folder / FILE_NAME}: not a facedb store; name another gallery with -g, or "
                    "move this file away and index again"
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
            self.check_encoder(pin_of(connection.execute(queries.GALLERY).mappings().one()).made_by)
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
            self.check_encoder(pin_of(row).made_by)
            if row["schema_version"] < SCHEMA_VERSION:
                bring_up_to_date(connection)
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
                "finished and you run: %s",
                self.folder,
                typed("gallery rebuild", gallery=self.folder),
            )
