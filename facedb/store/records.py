"""What goes into the store and comes out of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facedb.types import Box, Quality


@dataclass(frozen=True, slots=True)
class Pin:
    """What a gallery's templates were made with; fixed when the gallery is created.

    Attributes:
        encoder: how to open it again ("bundled", a bundle folder, "timm:..." or "hf-hub:...").
        encoder_name, encoder_fingerprint: which it was.
        dim: length of an embedding.
        detector: how to open it again ("bundled", "none", "whole" or a model file).
        detector_fingerprint: which it was.
    """

    encoder: str
    encoder_name: str
    encoder_fingerprint: str
    dim: int
    detector: str
    detector_fingerprint: str

    @property
    def made_by(self) -> str:
        """What decides the vectors: templates of two galleries compare when it is equal."""
        return f"{self.encoder_fingerprint}+{self.detector_fingerprint}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The published index file: its name in the gallery folder, and what it must contain."""

    file: str
    revision: int
    count: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class State:
    """What changes in a gallery: encoder, revision, index kind, published snapshot."""

    uuid: str
    made_by: str
    revision: int
    index_kind: str
    snapshot: Snapshot | None


@dataclass(frozen=True, slots=True)
class FileRow:
    """A photo file that was read: enrolled when `reason` is None, else refused for it."""

    path: str
    identity: str
    size: int
    mtime_ns: int
    sha256: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class NewTemplate:
    """A template to be stored.

    Attributes:
        vector: float32[d], a unit row from the encoder's door.
        quality: of the face; None where the encoder's card cannot tell.
        faces: how many the photo shows; None where that is not known.
    """

    identity: str
    sha256: str
    box: Box
    score: float
    vector: NDArray[np.float32]
    quality: Quality | None = None
    faces: int | None = None


@dataclass(frozen=True, slots=True)
class StoredTemplate:
    """Where a template came from.

    Attributes:
        photo: its file; "" when that is no longer known.
        quality, faces: as of a new one; None where it was enrolled before they were stored.
    """

    template_id: int
    identity: str
    sha256: str
    photo: str
    box: Box
    score: float
    quality: Quality | None
    faces: int | None


@dataclass(frozen=True, slots=True)
class Person:
    """An enrolled identity: its name, the other names that lead to it, its templates."""

    identity_id: int
    name: str
    aliases: tuple[str, ...]
    templates: int


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a threshold was measured to do, and on whom.

    Attributes:
        aggregation: how the distances to a person's templates became one.
        fpir: the share of strangers it was to accept at most, in (0, 1).
        threshold: the largest distance that accepts, in [0, 2].
        people, templates: the size of the gallery that was searched.
        strangers, strangers_photos: how many people and photos it was measured on.
        strangers_sha256: digest over the sorted digests of their photos.
        held_out: whether the strangers were the gallery's own people, held out in turn.
        measured_at: seconds since 1970.
        distances, shares: float64[n] each, rising: how near which share of strangers comes.
    """

    aggregation: str
    fpir: float
    threshold: float
    people: int
    templates: int
    strangers: int
    strangers_photos: int
    strangers_sha256: str
    held_out: bool
    measured_at: float
    distances: NDArray[np.float64]
    shares: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StoredProbe:
    """A probe's embedding that was kept: float32[d], or None where the photo shows no face."""

    sha256: str
    box: Box | None
    vector: NDArray[np.float32] | None
