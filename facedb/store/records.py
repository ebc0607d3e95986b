"""What goes into the store and comes out of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facedb.types import Box


@dataclass(frozen=True, slots=True)
class Pin:
    """What a gallery's templates were made with; fixed when the gallery is created.

    Attributes:
        encoder: how to open it again ("bundled", a bundle folder, "timm:..." or "hf-hub:...").
        encoder_name, encoder_fingerprint: which it was.
        dim: length of an embedding.
        detector: how to open it again ("none" or a model file).
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
    """A template to be stored; `vector` is float32[d], a unit row from the encoder's door."""

    identity: str
    sha256: str
    box: Box
    score: float
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class StoredTemplate:
    """Where a template came from; `photo` is "" when its file is no longer known."""

    template_id: int
    identity: str
    sha256: str
    photo: str
    box: Box
    score: float


@dataclass(frozen=True, slots=True)
class Person:
    """An enrolled identity: its name, the other names that lead to it, its templates."""

    identity_id: int
    name: str
    aliases: tuple[str, ...]
    templates: int
