"""File -> upright RGB array and sha256; folder -> (identity, path).

Nothing here writes to disk, and nothing is ever moved.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import struct
import threading
import unicodedata
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError, features

from facedb.errors import InputError, PhotoError
from facedb.types import Photo

MISSING: Final = "no such file"
DENIED: Final = "permission denied"
SYMLINK_LOOP: Final = "symlink loop"
FOLDER: Final = "is a folder"
SPECIAL: Final = "not a regular file"
UNREADABLE: Final = "cannot be read"
EMPTY: Final = "empty file"
HUGE_FILE: Final = "file larger than 512 MB"
NOT_AN_IMAGE: Final = "not an image"
DAMAGED: Final = "truncated or damaged image"
BOMB: Final = "more than 175 million pixels"
TOO_SMALL: Final = "smaller than 16 pixels"
NO_HEIC: Final = "HEIC needs: pip install '.[heic]'"
NO_AVIF: Final = "AVIF is not in this build of Pillow"
NOT_PIXELS: Final = "not uint8 of shape [H, W, 3] or [H, W]"
NOT_A_PHOTO: Final = "not a photo file"
NO_PERSON: Final = "lies outside a person's folder"
NO_PHOTOS: Final = "no photos in this folder"
BAD_NAME: Final = "name is not valid UTF-8"

REASONS: Final = (
    MISSING, DENIED, SYMLINK_LOOP, FOLDER, SPECIAL, UNREADABLE, EMPTY, HUGE_FILE, NOT_AN_IMAGE,
    DAMAGED, BOMB, TOO_SMALL, NO_HEIC, NO_AVIF, NOT_PIXELS, NOT_A_PHOTO, NO_PERSON, NO_PHOTOS,
    BAD_NAME,
)  # fmt: skip
"""Every reason that a PhotoError or a Skipped carries."""

DETAIL_SIDE: Final = 1600
"""Pixels: the long side that is kept (chosen in docs/results/detection-policy.json)."""

MOST_PIXELS: Final = 175_000_000
LEAST_SIDE: Final = 16
_MOST_BYTES: Final = 512 << 20

PHOTO_SUFFIXES: Final = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".tif", ".tiff",
    ".webp", ".avif", ".heic", ".heif", ".hif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k",
))  # fmt: skip
_LITTER: Final = frozenset(("thumbs.db", "desktop.ini", "__macosx", "@eadir"))

_SIGNATURES: Final = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG", "PNG"), (b"GIF8", "GIF"), (b"BM", "BMP"),
    (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  ", "JPEG2000"), (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"P1", "PPM"), (b"P2", "PPM"), (b"P3", "PPM"), (b"P4", "PPM"), (b"P5", "PPM"), (b"P6", "PPM"),
)  # fmt: skip
_HEIC_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what turns the stored picture upright (Exif 2.32, tag 0x0112)."""

_quiet = threading.Lock()


def load_photo(path: str | os.PathLike[str], min_side_for_detail: int = DETAIL_SIDE) -> Photo:
    """Read a photo of any common format, upright.

    Args:
        path: the file. Its suffix doesn't matter, its bytes do.
        min_side_for_detail: in pixels; a photo whose long side is at least twice as long is
            decoded at a fraction (1/2, 1/4, ...) whose long side is no shorter than this.

    Raises:
        PhotoError: the file cannot be used; its reason is one of REASONS.
    """
    name = os.fspath(path)
    data = _read(name)
    upright, (width, height) = _decode(name, data, min_side_for_detail)
    if min(width, height) < LEAST_SIDE:
        raise PhotoError(name, TOO_SMALL)
    return Photo(name, np.asarray(upright), hashlib.sha256(data).hexdigest(), width, height)


def photo_from_array(pixels: NDArray[np.uint8], name: str = "array") -> Photo:
    """Take pixels that are in memory already, uint8[H, W, 3] RGB or uint8[H, W] grey, upright.

    The sha256 is that of the shape and the bytes. The pixels are not copied where they are
    contiguous RGB.

    Raises:
        PhotoError: another dtype or shape, or a side under 16 pixels.
    """
    grey, colour = pixels.ndim == 2, pixels.ndim == 3 and pixels.shape[2] == 3
    if pixels.dtype != np.uint8 or not (grey or colour):
        raise PhotoError(name, NOT_PIXELS)
    if min(pixels.shape[:2]) < LEAST_SIDE:
        raise PhotoError(name, TOO_SMALL)
    rgb = np.ascontiguousarray(np.repeat(pixels[..., None], 3, axis=2) if grey else pixels)
    digest = hashlib.sha256(repr(rgb.shape).encode() + b"\n")
    digest.update(rgb.data)
    return Photo(name, rgb, digest.hexdigest(), rgb.shape[1], rgb.shape[0])


def _read(name: str) -> bytes:
    try:
        status = os.stat(name)
        if stat.S_ISDIR(status.st_mode):
            raise PhotoError(name, FOLDER)
        if not stat.S_ISREG(status.st_mode):
            raise PhotoError(name, SPECIAL)
        if status.st_size > _MOST_BYTES:
            raise PhotoError(name, HUGE_FILE)
        with open(name, "rb") as file:
            data = file.read()
    except (OSError, ValueError) as error:
        raise PhotoError(name, _reason(error)) from error
    if not data:
        raise PhotoError(name, EMPTY)
    return data


def _reason(error: OSError | ValueError) -> str:
    match error.errno if isinstance(error, OSError) else None:
        case errno.ENOENT | errno.ENOTDIR:
            return MISSING
        case errno.EACCES | errno.EPERM:
            return DENIED
        case errno.ELOOP:
            return SYMLINK_LOOP
        case _:
            return UNREADABLE


def _decode(name: str, data: bytes, detail: int) -> tuple[Image.Image, tuple[int, int]]:
    """The upright RGB image, perhaps at a fraction, and its full width and height."""
    kind = _format_of(data[:64])
    if kind is None:
        raise PhotoError(name, NOT_AN_IMAGE)
    try:
        image = _open(data, kind)
        size = image.size
        if size[0] * size[1] > MOST_PIXELS:
            raise PhotoError(name, BOMB)
        image.draft(None, _draft_size(size, detail))
        image.load()
        orientation = _orientation(image)
        upright = _turn(_reduce(_to_rgb(image), detail), orientation)
    except (PhotoError, MemoryError):
        raise
    except Exception as error:
        # Pillow's plugins raise whatever the damaged bytes lead them to.
        raise PhotoError(name, _why(error, kind)) from error
    return upright, size if orientation < 5 else (size[1], size[0])


def _draft_size(size: tuple[int, int], detail: int) -> tuple[int, int]:
    long = max(size)
    return max(1, size[0] * detail // long), max(1, size[1] * detail // long)


def _format_of(head: bytes) -> str | None:
    """Pillow's name of the format, by the first bytes: never by the suffix.

    Only formats named here are opened: Pillow's EPS reader, for one, would start Ghostscript.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        return _format_of_brand(head)
    return next((kind for start, kind in _SIGNATURES if head.startswith(start)), None)


def _format_of_brand(head: bytes) -> str | None:
    size = int.from_bytes(head[:4], "big")
    brands = {head[at : at + 4] for at in range(8, min(size, len(head)), 4) if at != 12}
    if b"avif" in brands or b"avis" in brands:
        return "AVIF"
    return "HEIF" if brands.intersection(_HEIC_BRANDS) else None


def _open(data: bytes, kind: str) -> Image.Image:
    if kind == "HEIF":
        from pillow_heif import register_heif_opener

        register_heif_opener()
    # catch_warnings swaps a list that all threads share: one at a time, and for the header only.
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(io.BytesIO(data), formats=[kind])


def _why(error: Exception, kind: str) -> str:
    match error:
        case Image.DecompressionBombError():
            return BOMB
        case ImportError():
            return NO_HEIC
        case UnidentifiedImageError() if kind == "AVIF" and not features.check("avif"):
            return NO_AVIF
        case _:
            return DAMAGED


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or the record is damaged."""
    try:
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value: Any = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, TypeError, LookupError, OSError, struct.error):
        return 1
    return value if value in _UPRIGHT else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data or image.mode in ("La", "RGBa"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale to 0..255 by the full range of the narrowest type that holds the largest value."""
    if values.dtype.itemsize == 2:
        full = 65535.0
    else:
        values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
        ranges = (1.0, 255.0, 65535.0)
        full = next((most for most in ranges if values.max() <= most), float(values.max()))
    return np.clip(np.rint(values * (255.0 / full)), 0, 255).astype(np.uint8)


def _reduce(image: Image.Image, detail: int) -> Image.Image:
    """What `draft` does for JPEG, for the other formats: a whole fraction by averaging."""
    factor = max(image.size) // max(detail, 1)
    return image.reduce(factor) if factor >= 2 else image


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


class PersonPhoto(NamedTuple):
    """A photo file and the person in whose folder it lies (the folder's name, NFC)."""

    identity: str
    path: str


class Skipped(NamedTuple):
    """A file or folder that was left out; `path` is printable, `reason` one of REASONS."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class PeopleWalk:
    """A folder of people: `entries` by identity, then path; `skipped` by path."""

    entries: list[PersonPhoto]
    skipped: list[Skipped]


@dataclass(frozen=True, slots=True)
class PhotoWalk:
    """Photo files in the order given, each folder's by path; `skipped` by path."""

    paths: list[str]
    skipped: list[Skipped]


def walk_people(folder: str | os.PathLike[str]) -> PeopleWalk:
    """List the photos of a folder that holds a sub-folder per person.

    Folders inside a person's folder belong to that person. Symlinks are followed, loops cut.
    Hidden files and folders (a leading dot, Thumbs.db, __MACOSX ...) are passed over silently;
    everything else that is left out is listed.

    Raises:
        InputError: there is no such folder, or it cannot be read.
    """
    top = os.fspath(folder)
    entries: list[PersonPhoto] = []
    skipped: list[Skipped] = []
    for item in _listing_of_top(top):
        if not _usable(item, skipped):
            continue
        if not item.is_dir():
            photo = _is_photo_name(item.name)
            skipped.append(Skipped(item.path, NO_PERSON if photo else NOT_A_PHOTO))
            continue
        photos = list(_photos_below(item.path, skipped, _key(top)))
        if not photos:
            skipped.append(Skipped(item.path, NO_PHOTOS))
        identity = unicodedata.normalize("NFC", item.name)
        entries += [PersonPhoto(identity, path) for path in photos]
    return PeopleWalk(sorted(entries), sorted(skipped))


def walk_photos(paths: Iterable[str | os.PathLike[str]]) -> PhotoWalk:
    """List the photos named: a file as it is, a folder as all photo files below it.

    A file that is missing or no photo stays in the list, for load_photo to refuse it by name.
    """
    photos: list[str] = []
    skipped: list[Skipped] = []
    for path in [os.fspath(path) for path in paths]:
        if os.path.isdir(path):
            photos += sorted(_photos_below(path, skipped))
        elif _is_text(path):
            photos.append(path)
        else:
            skipped.append(Skipped(_printable(path), BAD_NAME))
    return PhotoWalk(photos, sorted(skipped))


_Key = tuple[int, int]


def _photos_below(folder: str, skipped: list[Skipped], *above: _Key) -> Iterator[str]:
    """Photo files below a folder, each real folder once; `above` are folders it lies in."""
    seen = set(above)
    waiting = deque([(folder, frozenset(above))])
    while waiting:
        path, ancestors = waiting.popleft()
        try:
            key = _key(path)
            listing = [] if key in seen else _listing(path)
        except OSError as error:
            skipped.append(Skipped(path, _reason(error)))
            continue
        if key in ancestors:
            skipped.append(Skipped(path, SYMLINK_LOOP))
        seen.add(key)
        for item in listing:
            if not _usable(item, skipped):
                continue
            if item.is_dir():
                waiting.append((item.path, ancestors | {key}))
            elif _is_photo_name(item.name):
                yield item.path
            else:
                skipped.append(Skipped(item.path, NOT_A_PHOTO))


def _listing_of_top(top: str) -> list[os.DirEntry[str]]:
    try:
        return _listing(top)
    except NotADirectoryError as error:
        raise InputError(f"{top}: not a folder; give one that holds a folder per person") from error
    except OSError as error:
        reason = "no such folder" if _reason(error) == MISSING else _reason(error)
        raise InputError(f"{top}: {reason}") from error


def _listing(folder: str) -> list[os.DirEntry[str]]:
    """What lies in a folder, links last, so that a folder is met under its own name first."""
    with os.scandir(folder) as items:
        return sorted(items, key=lambda item: (item.is_symlink(), item.name))


def _usable(item: os.DirEntry[str], skipped: list[Skipped]) -> bool:
    """Whether to look at it at all; says why not, unless it is hidden."""
    if item.name.startswith(".") or item.name.casefold() in _LITTER:
        return False
    if not _is_text(item.path):
        skipped.append(Skipped(_printable(item.path), BAD_NAME))
        return False
    if item.is_symlink():
        try:
            item.stat()
        except OSError as error:
            skipped.append(Skipped(item.path, _reason(error)))
            return False
    return True


def _is_photo_name(name: str) -> bool:
    return os.path.splitext(name)[1].casefold() in PHOTO_SUFFIXES


def _key(folder: str) -> _Key:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
