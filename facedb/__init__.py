"""Who is in this photo? Face identification, offline, with a measured threshold.

    import facedb

    with facedb.open("family.gallery") as db:
        db.index_folder("photos")                 # a folder per person
        for face in db.identify("party.jpg"):     # one Identification a face
            print(face.identity, [c.distance for c in face.candidates])

Names are resolved when they are first used, so that `import facedb` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from facedb.errors import (
        EncoderMismatch,
        FacedbError,
        GalleryBusy,
        GalleryMissing,
        InputError,
        PhotoError,
        UnknownIdentity,
    )
    from facedb.identify import FaceDB, Settings, open
    from facedb.people import People
    from facedb.types import Candidate, Comparison, Face, Identification, Photo, PhotoAnswer

_HOME = {
    "Candidate": "facedb.types",
    "Comparison": "facedb.types",
    "EncoderMismatch": "facedb.errors",
    "Face": "facedb.types",
    "FaceDB": "facedb.identify",
    "FacedbError": "facedb.errors",
    "GalleryBusy": "facedb.errors",
    "GalleryMissing": "facedb.errors",
    "Identification": "facedb.types",
    "InputError": "facedb.errors",
    "People": "facedb.people",
    "Photo": "facedb.types",
    "PhotoAnswer": "facedb.types",
    "PhotoError": "facedb.errors",
    "Settings": "facedb.identify",
    "UnknownIdentity": "facedb.errors",
    "open": "facedb.identify",
}

__all__ = [
    "Candidate",
    "Comparison",
    "EncoderMismatch",
    "Face",
    "FaceDB",
    "FacedbError",
    "GalleryBusy",
    "GalleryMissing",
    "Identification",
    "InputError",
    "People",
    "Photo",
    "PhotoAnswer",
    "PhotoError",
    "Settings",
    "UnknownIdentity",
    "__version__",
    "open",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'facedb' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
