"""Why a photo or a folder was refused: short phrases that are stored, listed and compared."""

from __future__ import annotations

import errno
from functools import cache
from importlib.util import find_spec
from typing import Final

from PIL import features

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
RAW_PHOTO: Final = "a raw photo, which facedb cannot read: export a JPEG"
NO_PERSON: Final = "lies outside a person's folder"
NO_PHOTOS: Final = "no photos in this folder"
BAD_NAME: Final = "name is not valid UTF-8"
NO_FACE: Final = "no face found"
UNRECOGNISABLE: Final = "the face cannot be made out"
_SAME_PHOTO: Final = "the same photo is enrolled as "

REASONS: Final = (
    MISSING, DENIED, SYMLINK_LOOP, FOLDER, SPECIAL, UNREADABLE, EMPTY, HUGE_FILE, NOT_AN_IMAGE,
    DAMAGED, BOMB, TOO_SMALL, NO_HEIC, NO_AVIF, NOT_PIXELS, NOT_A_PHOTO, RAW_PHOTO, NO_PERSON,
    NO_PHOTOS, BAD_NAME,
)  # fmt: skip
"""Every reason that a PhotoError carries, or that a walk refuses for."""


def enrolled_as(owner: str) -> str:
    """The reason of a file whose photo is enrolled as somebody else."""
    return _SAME_PHOTO + owner


def owner_in(reason: str | None) -> str | None:
    """As whom its photo is enrolled, where a file was refused for that."""
    if reason is None or not reason.startswith(_SAME_PHOTO):
        return None
    return reason.removeprefix(_SAME_PHOTO)


@cache
def may_pass(reason: str) -> bool:
    """Whether it was not the file's own fault: it is read again although it has not changed."""
    if reason == NO_HEIC:  # which would be read whole, each time for nothing
        return find_spec("pillow_heif") is not None
    if reason == NO_AVIF:
        return bool(features.check("avif"))
    return reason in (DENIED, UNREADABLE)


def reason_of(error: OSError | ValueError) -> str:
    """The reason for what the operating system said."""
    match error.errno if isinstance(error, OSError) else None:
        case errno.ENOENT | errno.ENOTDIR:
            return MISSING
        case errno.EACCES | errno.EPERM:
            return DENIED
        case errno.ELOOP:
            return SYMLINK_LOOP
        case _:
            return UNREADABLE
