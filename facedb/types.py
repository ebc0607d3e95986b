"""The values that travel between the layers. Nothing here computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
"""uint8[H, W, 3], RGB, upright."""

Embeddings: TypeAlias = NDArray[np.float32]
"""float32[n, d], every row finite and of length 1."""

Box: TypeAlias = tuple[float, float, float, float]
"""x, y, width, height in pixels of the upright photo at full size."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with how many are done, and how many there are."""

Which: TypeAlias = Literal["all", "largest"]
"""Of the faces in a photo: all, or the one that counts."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded photo.

    Attributes:
        path: where it was read from, or a name given by the caller.
        pixels: uint8[h, w, 3] RGB, EXIF-upright; a large JPEG may be decoded at a fraction.
        sha256: hex digest of the file's bytes.
        width, height: size in pixels of the upright photo at full size.
    """

    path: str
    pixels: Pixels = field(repr=False)
    sha256: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Face:
    """One face in a photo.

    Attributes:
        box: x, y, width, height in pixels of the upright photo at full size.
        landmarks: float32[5, 2], same pixels: the eye, the eye, nose tip, the mouth corner, the
            mouth corner, the one at the left first where the face is upright.
        score: detector confidence in [0, 1]; 1.0 where no detector looked.
        crop: uint8[S, S, 3] RGB, aligned to the encoder's template.
    """

    box: Box
    landmarks: NDArray[np.float32]
    score: float
    crop: Pixels = field(repr=False)


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a face can be recognised.

    Attributes:
        chance: that a probe like it finds its person, in [0, 1], as in docs/models.md.
        poor: whether that is so little that another photo would serve better.
        cause: why it is poor, in words; "" where it is not.
        unrecognisable: whether no encoder could tell whose face it is; it is neither enrolled nor
            identified, as it resembles every other such face.
    """

    chance: float
    poor: bool
    cause: str
    unrecognisable: bool = False


@dataclass(frozen=True, slots=True)
class Hits:
    """Templates near m probes, nearest first; one row a probe, padded to the longest.

    Attributes:
        template_ids: int64[m, c], -1 where a row has ended.
        identity_ids: int64[m, c], -1 where a row has ended.
        distances: float64[m, c], Euclidean between unit vectors, in [0, 2]; infinite at the end.
    """

    template_ids: NDArray[np.int64]
    identity_ids: NDArray[np.int64]
    distances: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An enrolled identity near a probe.

    Attributes:
        identity: the person's name.
        distance: Euclidean distance in [0, 2] to the person, by the gallery's aggregation.
        template_id: the person's nearest template.
        photo: the file that the template came from, as it was indexed; "" when not known.
        box: the face's place in that photo.
        share: the share of strangers that come as near to somebody of the gallery, in [0, 1], as
            calibrated; 0.0 where none of them did, None where nobody measured.
    """

    identity: str
    distance: float
    template_id: int
    photo: str
    box: Box
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Identification:
    """The answer for one face.

    Attributes:
        identity: the accepted person, or None: not identified.
        threshold: the largest distance that accepts, in [0, 2]; None where nobody calibrated one,
            and then nobody is accepted.
        candidates: the nearest identities, nearest first.
        box: the face's place in the photo, as in Face.
        score: the detector's confidence in [0, 1].
        strangers: how many people the candidates' shares were measured on, or None.
        quality: how well the face can be recognised; None where the encoder's card can't tell.
    """

    identity: str | None
    threshold: float | None
    candidates: tuple[Candidate, ...]
    box: Box
    score: float
    strangers: int | None = None
    quality: Quality | None = None

    @property
    def unrecognisable(self) -> bool:
        """Whether the face cannot be made out, and so is nobody however near it comes."""
        return self.quality is not None and self.quality.unrecognisable


@dataclass(frozen=True, slots=True)
class PhotoAnswer:
    """The answers for one photo; `reason` says why there are none: it could not be read, or shows
    no face. Else it is None."""

    path: str
    reason: str | None
    faces: tuple[Identification, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two photos, the face that counts of each.

    Attributes:
        distance: Euclidean distance of their embeddings, in [0, 2].
        threshold: the largest distance that counts as the same person, or None.
        same: the decision; None without a threshold, or where a face cannot be made out.
        share: the share of different people who come as near to each other, in [0, 1]; None where
            nobody measured.
        strangers: how many people that was measured on, or None.
        faces: how many faces each photo shows.
        qualities: of the two faces; None where the encoder's card can't tell.
    """

    distance: float
    threshold: float | None
    same: bool | None
    share: float | None = None
    strangers: int | None = None
    faces: tuple[int, int] = (1, 1)
    qualities: tuple[Quality | None, Quality | None] = (None, None)


@dataclass(frozen=True, slots=True)
class GalleryInfo:
    """What a gallery holds and was made with.

    Attributes:
        threshold: the largest distance that accepts, in [0, 2]; None when nobody calibrated one.
        calibrated_fpir, calibrated_strangers: of the gallery's own calibration, the share of
            strangers that it accepts, and of how many; None where there is none.
        strangers: how many people whatever decides was measured on; None where nobody measured.
        refused: photo files that are remembered as left out.
        waiting: templates that the index file does not hold yet.
        bytes: size of the folder's files.
        terms: what the encoder's weights may be used for; "" where its card does not say.
    """

    folder: str
    people: int
    templates: int
    refused: int
    encoder_name: str
    encoder_fingerprint: str
    dim: int
    detector_fingerprint: str
    threshold: float | None
    calibrated_fpir: float | None
    calibrated_strangers: int | None
    strangers: int | None
    index_kind: str
    waiting: int
    bytes: int
    terms: str
