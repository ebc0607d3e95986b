"""Folder -> (identity, path). Nothing here writes to disk, and nothing is ever moved."""

from __future__ import annotations

import os
import unicodedata
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from facedb.errors import InputError
from facedb.names import is_text
from facedb.photos import reasons

PHOTO_SUFFIXES: Final = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".tif", ".tiff",
    ".webp", ".avif", ".heic", ".heif", ".hif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k",
))  # fmt: skip
_RAW_SUFFIXES: Final = frozenset((
    ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf",
))  # fmt: skip
_LITTER: Final = frozenset(("thumbs.db", "desktop.ini", "__macosx", "@eadir"))


class PersonPhoto(NamedTuple):
    """A photo file and the person in whose folder it lies (the folder's name, NFC)."""

    identity: str
    path: str


@dataclass(frozen=True, slots=True, order=True)
class Refusal:
    """A photo or folder that was left out, and why: `path` is printable, `reason` of reasons.py."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class PeopleWalk:
    """A folder of people: `entries` by identity, then path; `skipped` by path."""

    entries: list[PersonPhoto]
    skipped: list[Refusal]

    @property
    def loose(self) -> list[str]:
        """Photo files that lie in nobody's folder."""
        return [item.path for item in self.skipped if item.reason == reasons.NO_PERSON]

    def nested(self, top: str, known: Collection[str]) -> str:
        """The folder of the only person, not yet known, if several folders in it hold the photos.

        Else "". Folders named distortion do not count.
        """
        found = {entry.identity for entry in self.entries}
        if len(found) != 1 or found.intersection(known):
            return ""
        parts = [os.path.relpath(entry.path, top).split(os.sep) for entry in self.entries]
        inside = {below[1] for below in parts if len(below) > 2} - {"distortion"}
        return os.path.join(top, parts[0][0]) if len(inside) > 1 else ""


@dataclass(frozen=True, slots=True)
class PhotoWalk:
    """Photo files in the order given, each folder's by path; `skipped` by path."""

    paths: list[str]
    skipped: list[Refusal]


def walk_people(folder: str | os.PathLike[str]) -> PeopleWalk:
    """List the photos of a folder that holds a sub-folder per person.

    Folders inside a person's folder belong to that person. Symlinks are followed, loops cut.
    Hidden files and folders (a leading dot, Thumbs.db, __MACOSX ...) and galleries are passed over
    silently; everything else that is left out is listed.

    Raises:
        InputError: there is no such folder, or it cannot be read.
    """
    top = os.fspath(folder)
    entries: list[PersonPhoto] = []
    skipped: list[Refusal] = []
    listing, key = _listing_of_top(top)
    for item in listing:
        if not _usable(item, skipped) or _is_gallery(item):
            continue
        if not item.is_dir():
            photo = _is_photo_name(item.name)
            reason = reasons.NO_PERSON if photo else _why_no_photo(item.name)
            skipped.append(Refusal(item.path, reason))
            continue
        before = len(skipped)
        photos = list(_photos_below(item.path, skipped, key))
        if not photos and len(skipped) == before:
            skipped.append(Refusal(item.path, reasons.NO_PHOTOS))
        identity = unicodedata.normalize("NFC", item.name)
        entries += [PersonPhoto(identity, path) for path in photos]
    return PeopleWalk(sorted(entries), sorted(skipped))


def walk_photos(paths: Iterable[str | os.PathLike[str]]) -> PhotoWalk:
    """List the photos named: a file as it is, a folder as all photo files below it.

    A file that is missing or no photo stays in the list, for load_photo to refuse it by name.
    """
    photos: list[str] = []
    skipped: list[Refusal] = []
    for path in [os.fspath(path) for path in paths]:
        if os.path.isdir(path):
            photos += sorted(_photos_below(path, skipped))
        elif is_text(path):
            photos.append(path)
        else:
            skipped.append(Refusal(_printable(path), reasons.BAD_NAME))
    return PhotoWalk(photos, sorted(skipped))


_Key = tuple[int, int]


def _photos_below(folder: str, skipped: list[Refusal], *above: _Key) -> Iterator[str]:
    """Photo files below a folder, each real folder once; `above` are folders it lies in."""
    seen = set(above)
    waiting = deque([(folder, frozenset(above))])
    while waiting:
        path, ancestors = waiting.popleft()
        try:
            key = _key(path)
            listing = [] if key in seen else _listing(path)
        except OSError as error:
            skipped.append(Refusal(path, reasons.reason_of(error)))
            continue
        if key in ancestors:
            skipped.append(Refusal(path, reasons.SYMLINK_LOOP))
        seen.add(key)
        for item in listing:
            if not _usable(item, skipped) or _is_gallery(item):
                continue
            if item.is_dir():
                waiting.append((item.path, ancestors | {key}))
            elif _is_photo_name(item.name):
                yield item.path
            else:
                skipped.append(Refusal(item.path, _why_no_photo(item.name)))


def _listing_of_top(top: str) -> tuple[list[os.DirEntry[str]], _Key]:
    try:
        return _listing(top), _key(top)
    except NotADirectoryError as error:
        raise InputError(f"{top}: not a folder; give one that holds a folder per person") from error
    except OSError as error:
        reason = reasons.reason_of(error).replace("file", "folder")
        raise InputError(f"{top}: {reason}") from error


def _listing(folder: str) -> list[os.DirEntry[str]]:
    """What lies in a folder, links last, so that a folder is met under its own name first."""
    with os.scandir(folder) as items:
        return sorted(items, key=lambda item: (item.is_symlink(), item.name))


def _usable(item: os.DirEntry[str], skipped: list[Refusal]) -> bool:
    """Whether to look at it at all; says why not, unless it is hidden."""
    if item.name.startswith(".") or item.name.casefold() in _LITTER:
        return False
    if not is_text(item.path):
        skipped.append(Refusal(_printable(item.path), reasons.BAD_NAME))
        return False
    if item.is_symlink():
        try:
            item.stat()
        except OSError as error:
            skipped.append(Refusal(item.path, reasons.reason_of(error)))
            return False
    return True


def _is_gallery(item: os.DirEntry[str]) -> bool:
    """Whether it is a folder that facedb made, which may well lie beside the photos."""
    return os.path.isfile(os.path.join(item.path, "gallery.sqlite"))


def _is_photo_name(name: str) -> bool:
    return _suffix(name) in PHOTO_SUFFIXES


def _why_no_photo(name: str) -> str:
    return reasons.RAW_PHOTO if is_raw_name(name) else reasons.NOT_A_PHOTO


def is_raw_name(name: str) -> bool:
    """Whether a file's name is that of a camera's raw photo."""
    return _suffix(name) in _RAW_SUFFIXES


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].casefold()


def _key(folder: str) -> _Key:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _printable(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
