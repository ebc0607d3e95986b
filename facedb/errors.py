"""Every error facedb raises on purpose, each with the exit code of the command line.

    FacedbError                     1  failure
    ├── InputError                  4  a photo, a folder or a name given by the user
    │   ├── PhotoError                 one photo cannot be read; `.reason` is one of REASONS
    │   └── DetectorError              no detector, or one that cannot be used
    ├── GalleryError                5  the gallery folder
    │   ├── GalleryMissing             there is none where one was expected
    │   ├── GalleryDamaged             the store itself is torn or foreign
    │   ├── GalleryReadOnly            a write into a gallery that cannot be written
    │   ├── GalleryFull                no room left on the disk
    │   ├── GalleryBusy                another writer held the gallery too long
    │   └── UnknownIdentity            nobody of that name is enrolled
    ├── EncoderError                6  the encoder bundle or what it returned
    │   ├── EncoderMismatch            the gallery was made by another encoder
    │   └── BadEmbedding               NaN, zero or wrong-dimension vectors
    ├── TrainingError               1  training cannot go on; the last good state is kept
    └── DependencyMissing           1  an extra is not installed; the message is the line to type

A message says what failed, on which file, and the command that mends it.
"""

from __future__ import annotations

from typing import ClassVar


class FacedbError(Exception):
    """Base of every error that facedb raises on purpose."""

    exit_code: ClassVar[int] = 1


class InputError(FacedbError):
    """The input given by the user cannot be used."""

    exit_code: ClassVar[int] = 4


class PhotoError(InputError):
    """One photo cannot be read.

    Attributes:
        path: the file, as it was named by the caller.
        reason: a short lower-case phrase without the path, stored and listed.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type[PhotoError], tuple[str, str]]:
        # An exception is made anew from `args`, which is the message alone.
        return type(self), (self.path, self.reason)


class DetectorError(InputError):
    """No face detector, or one that cannot be used."""


class GalleryError(FacedbError):
    """The gallery cannot do what was asked."""

    exit_code: ClassVar[int] = 5


class GalleryMissing(GalleryError):
    """There is no gallery in this folder."""


class GalleryDamaged(GalleryError):
    """The gallery's store is torn, or is not a facedb store."""


class GalleryReadOnly(GalleryError):
    """The gallery cannot be written by this user."""


class GalleryFull(GalleryError):
    """No room was left while writing; everything committed before is kept."""


class GalleryBusy(GalleryError):
    """Another process held the gallery's write lock too long."""


class UnknownIdentity(GalleryError):
    """Nobody of this name is enrolled."""


class EncoderError(FacedbError):
    """The encoder cannot be loaded or used."""

    exit_code: ClassVar[int] = 6


class EncoderMismatch(EncoderError):
    """The gallery holds templates of another encoder."""


class BadEmbedding(EncoderError):
    """A vector that is not finite, is zero, or has the wrong dimension."""


class TrainingError(FacedbError):
    """Training cannot go on; what was saved last is kept."""


class DependencyMissing(FacedbError):
    """A package of an extra is not installed."""
