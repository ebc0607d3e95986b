"""Photos: a file -> an upright RGB array and its sha256; a folder -> (identity, path)."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import threading
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError, features

from facedb.errors import InputError, PhotoError
from facedb.photos import reasons
from facedb.photos.walk import (
    PeopleWalk,
    PersonPhoto,
    PhotoWalk,
    Refusal,
    is_raw_name,
    walk_people,
    walk_photos,
)
from facedb.types import Photo

__all__ = [
    "PeopleWalk",
    "PersonPhoto",
    "PhotoLike",
    "PhotoWalk",
    "Refusal",
    "as_photo",
    "digest_of",
    "load_photo",
    "photo_from_array",
    "photo_from_bytes",
    "walk_people",
    "walk_photos",
]

PhotoLike: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | NDArray[np.uint8] | Photo
"""A file; the bytes of one, or a stream of them; pixels uint8[H, W, 3] RGB; or a Photo."""

DETAIL_SIDE: Final = 1600
"""Pixels: the long side that is kept (chosen in docs/results/detection-policy.json)."""

MOST_PIXELS: Final = 175_000_000
LEAST_SIDE: Final = 16
_MOST_BYTES: Final = 512 << 20

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


def as_photo(given: PhotoLike) -> Photo:
    """The photo that a caller gave in one of these ways.

    Raises:
        PhotoError: it cannot be used.
        InputError: it is none of them.
    """
    match given:
        case str() | os.PathLike():
            return load_photo(given)
        case bytes():
            return photo_from_bytes(given)
        case np.ndarray():
            return photo_from_array(given)
        case Photo(pixels=np.ndarray() as pixels):
            _check_rgb(pixels, given.path)
            return given
    if callable(read := getattr(given, "read", None)):
        return photo_from_bytes(_drained(read))
    raise InputError(
        f"{type(given).__name__} is no photo: give a file, its bytes, a stream of them, or "
        "uint8[H, W, 3] RGB pixels (of a PIL image: numpy.asarray(image.convert('RGB')))"
    )


def _drained(read: Callable[[int], object]) -> bytes:
    """What a stream holds, of which a single read may give a part; no more than may be."""
    parts: list[bytes] = []
    while sum(map(len, parts)) <= _MOST_BYTES:
        try:
            part = read(_MOST_BYTES + 1)
        except (OSError, ValueError) as error:  # the connection broke, the file is closed
            raise PhotoError("stream", reasons.UNREADABLE) from error
        if not isinstance(part, bytes):
            raise InputError(
                f"a stream whose read() gives {type(part).__name__} is no photo: it must give "
                "bytes (a file is opened with mode 'rb'; of an asynchronous one, await the bytes)"
            )
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def digest_of(path: str | os.PathLike[str]) -> str:
    """sha256 of a file's bytes, as hex digits; "" where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):  # a name with a zero byte is no file's
        return ""


def load_photo(path: str | os.PathLike[str], min_side_for_detail: int = DETAIL_SIDE) -> Photo:
    """Read a photo of any common format, upright.

    Args:
        path: the file. Its suffix doesn't matter, its bytes do.
        min_side_for_detail: in pixels; a photo whose long side is at least twice as long is
            decoded at a fraction (1/2, 1/4, ...) whose long side is no shorter than this.

    Raises:
        PhotoError: the file cannot be used; its reason is one of reasons.REASONS.
    """
    name = os.fspath(path)
    try:
        return photo_from_bytes(_read(name), name, min_side_for_detail)
    except PhotoError as error:
        if error.reason in (reasons.DAMAGED, reasons.NOT_AN_IMAGE) and is_raw_name(name):
            raise PhotoError(name, reasons.RAW_PHOTO) from error
        raise


def photo_from_bytes(
    data: bytes, name: str = "bytes", min_side_for_detail: int = DETAIL_SIDE
) -> Photo:
    """Read a photo from the bytes of its file, otherwise as `load_photo`."""
    if len(data) > _MOST_BYTES:
        raise PhotoError(name, reasons.HUGE_FILE)
    if not data:
        raise PhotoError(name, reasons.EMPTY)
    upright, (width, height) = _decode(name, data, min_side_for_detail)
    if min(width, height) < LEAST_SIDE:
        raise PhotoError(name, reasons.TOO_SMALL)
    return Photo(name, np.asarray(upright), hashlib.sha256(data).hexdigest(), width, height)


def photo_from_array(pixels: NDArray[np.uint8], name: str = "array") -> Photo:
    """Take pixels that are in memory already, uint8[H, W, 3] RGB or uint8[H, W] grey, upright.

    The sha256 is that of the shape and the bytes. The pixels are not copied where they are
    contiguous RGB.

    Raises:
        PhotoError: another dtype or shape, or a side under 16 pixels.
    """
    pixels = np.asarray(pixels)  # a matrix has rules of its own
    rgb = np.ascontiguousarray(np.repeat(pixels[..., None], 3, 2) if pixels.ndim == 2 else pixels)
    _check_rgb(rgb, name)
    digest = hashlib.sha256(repr(rgb.shape).encode() + b"\n")
    digest.update(rgb.data)
    return Photo(name, rgb, digest.hexdigest(), rgb.shape[1], rgb.shape[0])


def _check_rgb(pixels: NDArray[np.uint8], name: str) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise PhotoError(name, reasons.NOT_PIXELS)
    if min(pixels.shape[:2]) < LEAST_SIDE:
        raise PhotoError(name, reasons.TOO_SMALL)


def _read(name: str) -> bytes:
    try:
        status = os.stat(name)
        if stat.S_ISDIR(status.st_mode):
            raise PhotoError(name, reasons.FOLDER)
        if not stat.S_ISREG(status.st_mode):
            raise PhotoError(name, reasons.SPECIAL)
        if status.st_size > _MOST_BYTES:
            raise PhotoError(name, reasons.HUGE_FILE)
        with open(name, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise PhotoError(name, reasons.reason_of(error)) from error


def _decode(name: str, data: bytes, detail: int) -> tuple[Image.Image, tuple[int, int]]:
    """The upright RGB image, perhaps at a fraction, and its full width and height."""
    kind = _format_of(data[:64])
    if kind is None:
        raise PhotoError(name, reasons.NOT_AN_IMAGE)
    try:
        image = _open(data, kind)
        size = image.size
        if size[0] * size[1] > MOST_PIXELS:
            raise PhotoError(name, reasons.BOMB)
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
            return reasons.BOMB
        case ImportError():
            return reasons.NO_HEIC
        case UnidentifiedImageError() if kind == "AVIF" and not features.check("avif"):
            return reasons.NO_AVIF
        case _:
            return reasons.DAMAGED


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
        image, white = image.convert("RGBA"), Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale to 0..255 by the full range of the narrowest type that holds the largest value."""
    scaled = np.nan_to_num(values.astype(np.float32), copy=False, posinf=0.0, neginf=0.0)
    peak = 65535.0 if values.dtype.itemsize == 2 else float(scaled.max())
    full = next((most for most in (1.0, 255.0, 65535.0) if peak <= most), peak)
    scaled *= 255.0 / full
    return np.rint(scaled, out=scaled).clip(0, 255, out=scaled).astype(np.uint8)


def _reduce(image: Image.Image, detail: int) -> Image.Image:
    """What `draft` does for JPEG, for the other formats: a whole fraction by averaging."""
    factor = max(image.size) // max(detail, 1)
    return image.reduce(factor) if factor >= 2 else image


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
