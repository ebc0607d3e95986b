"""Quality: the chance that a face is recognised, told before anybody is compared with it.

Faces that an encoder cannot make out gather in one place of its space (Deng et al., Harnessing
Unrecognizable Faces for Improving Face Recognition, WACV 2023). How far a face lies from that
place, how large it is, how far it is turned and how sure the detector was predict by a logistic
regression whether a probe finds its person. Those nearest to that place are unrecognisable: all of
them look like one person. The numbers lie in the encoder's card, fitted on people whom the
encoder was not trained on: by `facedb train`, and of the bundled one by `scripts/fit_quality.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facedb.types import Embeddings, Face, Quality

CAUSES: Final = ("hard to make out", "small", "turned away", "barely detected")
"""Why a face is poor: one for each column of `traits`."""

_EYES = 4.0, 64.0
"""Pixels between the eyes beyond which less or more changes nothing."""


def traits(
    faces: Sequence[Face], embeddings: Embeddings, centre: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What quality is told from.

    Args:
        faces: n faces.
        embeddings: float32[n, d] unit rows, theirs.
        centre: float64[d], where faces that cannot be made out gather.

    Returns:
        float64[n, 4]: Euclidean distance to the centre; log2 of the pixels between the eyes,
        within [2, 6]; how far the nose lies from the middle between the eyes along their line, in
        parts of their distance, at most 1; the detector's score.
    """
    if not faces:
        return np.empty((0, 4))
    points = np.stack([face.landmarks for face in faces]).astype(np.float64)
    line = points[:, 1] - points[:, 0]
    apart = np.maximum(np.linalg.norm(line, axis=1), 1e-9)
    nose = points[:, 2] - points[:, :2].mean(axis=1)
    turn = np.abs((nose * line).sum(axis=1)) / apart**2
    return np.column_stack(
        [
            np.linalg.norm(embeddings - centre, axis=1),
            np.log2(np.clip(apart, *_EYES)),
            np.minimum(turn, 1.0),
            [face.score for face in faces],
        ]
    )


@dataclass(frozen=True, slots=True)
class QualityModel:
    """A logistic regression on traits.

    Attributes:
        centre: float64[d], where faces that cannot be made out gather.
        weights: float64[4], of the traits.
        bias: of the regression.
        usual: float64[4], the traits of the median face it was fitted on.
        poor: the chance below which a face is called poor.
        unrecognisable: the distance to the centre within which nobody is told from anybody.
    """

    centre: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: float
    usual: NDArray[np.float64]
    poor: float
    unrecognisable: float

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> QualityModel | None:
        """The model in an encoder's card, or None where it has none."""
        held = card.get("quality")
        if not held:
            return None
        centre, weights, usual = (
            np.asarray(held[name], np.float64) for name in ("centre", "weights", "usual")
        )
        limits = float(held["poor"]), float(held.get("unrecognisable", 0.0))
        return cls(centre, weights, float(held["bias"]), usual, *limits)

    def card(self) -> dict[str, Any]:
        """What `of` reads, to four significant digits."""
        return {
            "centre": _rounded(self.centre),
            "weights": _rounded(self.weights),
            "bias": _rounded(self.bias),
            "usual": _rounded(self.usual),
            "poor": _rounded(self.poor),
            "unrecognisable": _rounded(self.unrecognisable),
        }

    def chances(self, found: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64[n] in [0, 1], of traits float64[n, 4]."""
        return np.asarray(1 / (1 + np.exp(-(found @ self.weights + self.bias))))

    def cannot_tell(self, embeddings: Embeddings) -> NDArray[np.bool_]:
        """bool[n]: which of the unit rows, float32[n, d], are of unrecognisable faces."""
        return np.asarray(np.linalg.norm(embeddings - self.centre, axis=1) < self.unrecognisable)

    def __call__(self, faces: Sequence[Face], embeddings: Embeddings) -> list[Quality]:
        """The quality of n faces with embeddings float32[n, d], in order."""
        found = traits(faces, embeddings, self.centre)
        chances = self.chances(found)
        causes = ((found - self.usual) * self.weights).argmin(axis=1) if faces else []
        lost = self.cannot_tell(embeddings)
        poor = lost | (chances < self.poor)
        return [
            Quality(chance, few, CAUSES[cause] if few else "", nobody)
            for chance, few, cause, nobody in zip(
                chances.tolist(), poor.tolist(), causes, lost.tolist(), strict=True
            )
        ]


def _rounded(value: float | NDArray[np.float64]) -> float | list[float]:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return [float(f"{number:.4g}") for number in value.tolist()]
