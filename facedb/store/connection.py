"""Opening the SQLite file, and turning what SQLite raises into the errors of facedb."""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from facedb.errors import (
    GalleryBusy,
    GalleryDamaged,
    GalleryError,
    GalleryFull,
    GalleryReadOnly,
)
from facedb.typed import typed

FILE_NAME = "gallery.sqlite"
BUSY_SECONDS = 30.0
_NO_ROOM = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)
_BLOCK = 4096  # bound parameters of one statement; SQLite allows 32,766

_engines: weakref.WeakSet[sa.Engine] = weakref.WeakSet()

_T = TypeVar("_T")


def holds_store(folder: Path) -> bool:
    """Whether there is a store in the folder; GalleryError where this user may not look."""
    try:
        return (folder / FILE_NAME).is_file()
    except PermissionError as error:
        raise GalleryError(
            f"{folder}: this user may not enter this folder; have its owner allow it, or name "
            "another gallery with -g"
        ) from error


def may_write(folder: Path) -> bool:
    """Whether this user can write the store: SQLite also makes files beside it."""
    return os.access(folder / FILE_NAME, os.W_OK) and os.access(folder, os.W_OK)


def place(file: str) -> tuple[int, int] | None:
    """Device and inode of a file; None when it is gone."""
    try:
        stat = os.stat(file)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def put_in_place(made: Path, file: Path) -> bool:
    """Put a whole store where it belongs, unless there is one; False where nothing is ever linked.

    Raises:
        GalleryError: something else is in the way.
    """
    try:
        os.link(made, file)
    except FileExistsError as error:
        if not file.is_file():
            raise GalleryError(f"{file}: is in the way, and is no file; move it away") from error
    except OSError:
        return False
    return True


def new_engine(folder: Path) -> sa.Engine:
    """An engine that makes the file when there is none."""
    uri = _uri(folder)
    return _engine(lambda: _connect(f"{uri}?mode=rwc"))


def open_engine(folder: Path, writable: bool) -> sa.Engine:
    """An engine on an existing file; one that only reads sees each commit as a writer's does."""
    folder = folder.absolute()  # now: somebody may change directory
    if writable:
        return _engine(lambda: _connect(f"{_uri(folder)}?mode=rw"))
    engine = _engine(lambda: _connect_reading(folder))

    @sa.event.listens_for(engine, "checkout")
    def check(connection: _Connection, record: object, proxy: object) -> None:
        if connection.seen is not None and connection.seen != _look(folder):
            raise sa.exc.DisconnectionError  # the pool makes another in its place

    return engine


def blocks(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """`values` cut into pieces that one statement can take."""
    for start in range(0, len(values), _BLOCK):
        yield values[start : start + _BLOCK]


def _uri(folder: Path) -> str:
    return (folder / FILE_NAME).absolute().as_uri()


class _Connection(sqlite3.Connection):
    """`seen` is what the files were like before they were opened as immutable; else None."""

    seen: tuple[object, ...] | None = None


def _connect(uri: str) -> _Connection:
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        factory=_Connection,
    )
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")
    return connection


def _connect_reading(folder: Path) -> _Connection:
    # Under WAL a reader that cannot make the -shm file fails with mode=ro; immutable needs
    # neither file, and is right as long as no writer has left anything in the log.
    seen = _look(folder)
    log = seen[1]
    if log is not None and log[-1] > 0:
        return _connect(f"{_uri(folder)}?mode=ro")
    connection = _connect(f"{_uri(folder)}?mode=ro&immutable=1")
    connection.seen = seen
    return connection


def _look(folder: Path) -> tuple[tuple[int, int, int] | None, ...]:
    """Inode, time and size of the store and of its log: another after each commit."""
    found: list[tuple[int, int, int] | None] = []
    for name in (FILE_NAME, FILE_NAME + "-wal"):
        try:
            stat = (folder / name).stat()
            found.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
        except OSError:
            found.append(None)
    return tuple(found)


def _engine(connect: Callable[[], sqlite3.Connection]) -> sa.Engine:
    # Without a limit: whoever reads must not wait for those who wait to write.
    engine = sa.create_engine(
        "sqlite+pysqlite://", creator=connect, poolclass=sa.QueuePool, max_overflow=-1
    )
    _engines.add(engine)
    return engine


def _close_before_fork() -> None:
    # Locks stay behind: a child that went on with a connection would lose what it writes.
    for engine in list(_engines):
        engine.dispose()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_close_before_fork)


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Raise the errors of facedb for those of SQLite."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _gallery_error(folder, error.orig) from error
    except sqlite3.Error as error:
        raise _gallery_error(folder, error) from error


def busy(folder: Path) -> GalleryBusy:
    """The error for a writer who has waited long enough."""
    return GalleryBusy(
        f"{folder}: somebody else has been writing for {BUSY_SECONDS:.0f} s; try again"
    )


def _gallery_error(folder: Path, cause: BaseException | None) -> GalleryError:
    file = folder / FILE_NAME
    code = getattr(cause, "sqlite_errorcode", 0)
    match sqlite3.SQLITE_FULL if code in _NO_ROOM else code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return GalleryFull(
                f"{folder}: no room left on the disk; what was committed before is kept: "
                "make room and run the same command again"
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return busy(folder)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return GalleryReadOnly(
                f"{file}: cannot be opened or written by this user ({cause}); if another user "
                f"is writing it, wait, or have them run: {typed('gallery check', gallery=folder)}"
            )
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return GalleryDamaged(
                f"{file}: damaged ({cause}); restore it from a copy, or index the photos into "
                "a new gallery: facedb index DIR -g NEW"
            )
    return GalleryError(f"{file}: {cause}")
