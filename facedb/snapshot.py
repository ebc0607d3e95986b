"""The index file of a gallery: a numbered, checksummed, disposable cache of the store.

The FAISS index is followed by a footer that names its gallery, revision, count and dimension, so
that a file cut short or brought from elsewhere cannot pass as the current one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from facedb.errors import GalleryError, GalleryFull, GalleryReadOnly
from facedb.index.faiss import FaissIndex, load
from facedb.store import Snapshot
from facedb.typed import typed

VERIFIED_BYTES = 256 * 1024 * 1024
"""Up to this size a snapshot's checksum is verified whenever it is opened."""

_FOOTER = struct.Struct("<8s32sqqq")
_MAGIC = b"FACEDBIX"
_REASONS: tuple[tuple[type[GalleryError], tuple[int, ...]], ...] = (
    (GalleryFull, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)),
    (GalleryReadOnly, (errno.EACCES, errno.EPERM, errno.EROFS)),
)


class SnapshotInvalid(Exception):
    """The index file is not what the store says it must be; the message says why."""


@dataclass(frozen=True, slots=True)
class Footer:
    """What the end of an index file says of it."""

    gallery: str
    revision: int
    count: int
    dim: int

    def packed(self) -> bytes:
        return _FOOTER.pack(_MAGIC, self.gallery.encode(), self.revision, self.count, self.dim)


def write(
    folder: Path, index: FaissIndex, gallery: str, revision: int, step: Callable[[str], None]
) -> Snapshot | None:
    """Write the index beside the store: temp, fsync, rename, fsync of the folder.

    Returns:
        None when another process has cleaned the unfinished file away.

    Raises:
        GalleryFull, GalleryReadOnly, GalleryError: it cannot be written; nothing of it is left.
    """
    name = f"index-{revision:012d}-{uuid.uuid4().hex[:8]}.faiss"
    temporary = folder / (name + ".tmp")
    step("snapshot: before the temporary file")
    try:
        index.save(str(temporary))
        step("snapshot: index written, footer missing")
        with temporary.open("ab") as stream:
            stream.write(Footer(gallery, revision, index.count, index.dim).packed())
            stream.flush()
            os.fsync(stream.fileno())
        step("snapshot: temporary file complete")
        digest, size = _sha256(temporary), temporary.stat().st_size
        temporary.rename(folder / name)
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise _not_written(folder, error) from error
    step("snapshot: renamed")
    sync_folder(folder)
    step("snapshot: folder synced")
    return Snapshot(name, revision, index.count, size, digest)


def _not_written(folder: Path, error: OSError | RuntimeError) -> GalleryError:
    """The error for an index file that could not be written; FAISS has only words for why."""
    for kind, codes in _REASONS:
        for reason in map(os.strerror, codes):
            if reason in str(error):
                return kind(
                    f"{folder}: the index file cannot be written ({reason}); what was committed "
                    f"is kept: mend that and run: {typed('gallery rebuild', gallery=folder)}"
                )
    return GalleryError(f"{folder}: the index file cannot be written: {error}")


def read(
    folder: Path, snapshot: Snapshot, gallery: str, dim: int, whole: bool = False
) -> FaissIndex:
    """Open a published snapshot.

    Args:
        whole: verify every byte however large the file is.

    Raises:
        SnapshotInvalid: it is missing, torn, foreign, or has a wrong byte.
    """
    file = folder / snapshot.file
    _check_outside(file, snapshot, Footer(gallery, snapshot.revision, snapshot.count, dim))
    if (whole or snapshot.bytes <= VERIFIED_BYTES) and _sha256(file) != snapshot.sha256:
        raise SnapshotInvalid("its checksum does not match")
    try:
        index = load(str(file))
    except RuntimeError as error:
        raise SnapshotInvalid("FAISS cannot read it") from error
    if index.count != snapshot.count or index.dim != dim:
        raise SnapshotInvalid("it holds another number of templates")
    return index


def _check_outside(file: Path, snapshot: Snapshot, footer: Footer) -> None:
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            stream.seek(max(0, size - _FOOTER.size))
            end = stream.read()
    except OSError as error:
        raise SnapshotInvalid(error.strerror or "it cannot be read") from error
    if size != snapshot.bytes:
        raise SnapshotInvalid(f"it has {size} bytes instead of {snapshot.bytes}")
    if end != footer.packed():
        raise SnapshotInvalid("it belongs to another gallery or revision")


def set_aside(folder: Path, name: str) -> None:
    """Rename a bad index file, so that it is never read again but can be looked at."""
    with suppress(OSError):
        (folder / name).rename(folder / (name + ".bad"))


def files(folder: Path) -> list[Path]:
    """Every index file: the published one, older ones, temporary ones, those set aside."""
    return sorted(folder.glob("index-*.faiss*"))


def clean(folder: Path, keep: str | None) -> None:
    """Delete every index file but `keep`."""
    strays = [file for file in files(folder) if file.name != keep]
    for file in strays:
        file.unlink(missing_ok=True)
    if strays:
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make renames and deletions in `folder` survive a power cut."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
