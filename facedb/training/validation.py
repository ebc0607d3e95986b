"""What an encoder is worth on photos it didn't learn from: the published figure, and honest ones.

Two versions of one photo are easily told to be one photo, which is not who is on it. So each
figure is given on pairs as they were published, most of whose positives are two versions of one
photo, and on pairs that cross two photos of a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facedb.evaluation.metrics import auc, eer, tmr_at_fmr
from facedb.training.data import CLEAN, Faces
from facedb.training.samplers import Blocks, another_photo, draw_pairs
from facedb.types import Embeddings, Pixels

PUBLISHED_THRESHOLD: Final = 0.5
LESS_IS_BETTER: Final = frozenset({"eer", "cross_photo_eer"})
_POSITIVES, _NEGATIVES = 50_000, 200_000
_BLOCK = 1024
_SEED = 20_240_601  # the same pairs whatever the run's seed

Metrics = dict[str, float | None]
"""Figure -> value in [0, 1], None where the photos cannot tell."""


@dataclass(frozen=True, slots=True)
class Validation:
    """What was measured.

    Attributes:
        metrics: pair_accuracy (d < 0.5, as published), auc, eer, tar_at_far_1e-2 and 1e-3 on
            pairs as published, these two where there are 1 / FAR negative pairs; the same with
            `cross_photo_` before them on pairs that cross photos; same_photo_rank1: distorted
            photos against the clean ones, their own among them; cross_photo_rank1: all against
            the clean ones, their own photo left out.
        by_distortion: kind -> both ranks of the photos of this kind.
    """

    metrics: Metrics
    by_distortion: dict[str, Metrics]


def validate(embeddings: Embeddings, faces: Faces) -> Validation:
    """Measure.

    Args:
        embeddings: float32[n, d] unit rows, one a face.
        faces: who they are.
    """
    metrics = {**_pairs_as_published(embeddings, faces), **_crossing_pairs(embeddings, faces)}
    same, cross = _nearest(embeddings, faces)
    kinds = np.array(faces.kinds)
    metrics["same_photo_rank1"] = _mean(same[kinds != CLEAN])
    metrics["cross_photo_rank1"] = _mean(cross)
    by_kind: dict[str, Metrics] = {
        str(kind): {
            "same_photo_rank1": _mean(same[kinds == kind]) if kind != CLEAN else None,
            "cross_photo_rank1": _mean(cross[kinds == kind]),
        }
        for kind in np.unique(kinds)
    }
    return Validation(metrics, by_kind)


def thumbnails(crops: Pixels, side: int = 16) -> Embeddings:
    """The baseline that knows no faces: grey, 16 x 16, less its mean, length 1; float32[n, 256]."""
    rows = np.stack(
        [
            cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (side, side), None, 0, 0, 3).ravel()
            for crop in crops
        ]
    ).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    one_colour = length[:, 0] < 1e-6
    rows[one_colour, 0], length[one_colour] = 1.0, 1.0
    unit: Embeddings = rows / length
    return unit


def published_pairs(faces: Faces) -> NDArray[np.int64]:
    """The fixed validation pairs, int64[n, 2]: each face with a partner, half of them positive."""
    return draw_pairs(faces.labels, faces.photos, np.random.default_rng(_SEED))


def crossing_pairs(faces: Faces) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Fixed pairs int64[m, 2] whose positives cross two photos, and which are positive."""
    rng = np.random.default_rng(_SEED)
    blocks = Blocks.of(faces.labels, faces.photos)
    able = np.flatnonzero(blocks.other_photos > 0)
    if not len(able):
        return np.empty((0, 2), np.int64), np.empty(0, np.bool_)
    first = rng.choice(able, _POSITIVES)
    second = another_photo(blocks, first, rng.random(_POSITIVES))
    positives = np.column_stack([first, second])
    negatives = rng.integers(0, len(faces), (_NEGATIVES, 2))
    negatives = negatives[faces.labels[negatives[:, 0]] != faces.labels[negatives[:, 1]]]
    pairs = np.concatenate([positives, negatives])
    return pairs, np.arange(len(pairs)) < len(positives)


def pair_distances(embeddings: Embeddings, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64[m] Euclidean distances of int64[m, 2] pairs of rows."""
    parts = [
        np.linalg.norm(embeddings[part[:, 0]].astype(np.float64) - embeddings[part[:, 1]], axis=1)
        for part in np.array_split(pairs, max(1, len(pairs) // 50_000))
    ]
    return np.concatenate(parts)


def _pairs_as_published(embeddings: Embeddings, faces: Faces) -> Metrics:
    pairs = published_pairs(faces)
    same = faces.labels[pairs[:, 0]] == faces.labels[pairs[:, 1]]
    return _figures("", embeddings, pairs, same)


def _crossing_pairs(embeddings: Embeddings, faces: Faces) -> Metrics:
    pairs, same = crossing_pairs(faces)
    return _figures("cross_photo_", embeddings, pairs, same)


def _figures(
    before: str, embeddings: Embeddings, pairs: NDArray[np.int64], same: NDArray[np.bool_]
) -> Metrics:
    distances, others = pair_distances(embeddings, pairs), _different(pairs[~same])
    right = (distances < PUBLISHED_THRESHOLD) == same
    both = [_mean(right[same]), _mean(right[~same])]
    accuracy = (
        None if None in both else float(np.mean([share for share in both if share is not None]))
    )
    return {
        f"{before}pair_accuracy": accuracy,
        f"{before}auc": _number(auc(distances, same)),
        f"{before}eer": _number(eer(distances, same)),
        f"{before}tar_at_far_1e-2": _rate_at(distances, same, 0.01, others),
        f"{before}tar_at_far_1e-3": _rate_at(distances, same, 0.001, others),
    }


def _different(pairs: NDArray[np.int64]) -> int:
    """How many pairs there are when each counts once, whichever picture comes first."""
    ordered = np.sort(pairs, axis=1)
    return len(np.unique(ordered[:, 0] * (pairs.max(initial=0) + 1) + ordered[:, 1]))


def _rate_at(
    distances: NDArray[np.float64], same: NDArray[np.bool_], far: float, others: int
) -> float | None:
    """TAR at a FAR; None of fewer negative pairs than 1 / FAR, of which it would allow none."""
    return _number(tmr_at_fmr(distances, same, far)) if others * far >= 1 else None


def _nearest(
    embeddings: Embeddings, faces: Faces
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per face, among the clean ones: rank-1 with and without the own photo.

    1.0 and 0.0 for right and wrong, NaN where there is no such probe.
    """
    clean = np.flatnonzero(np.array(faces.kinds) == CLEAN)
    same, cross = (np.full(len(faces), np.nan) for _ in range(2))
    gallery, owners, photos = embeddings[clean], faces.labels[clean], faces.photos[clean]
    for start in range(0, len(faces) if len(clean) else 0, _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(faces)))
        near = 2 - 2 * embeddings[rows].astype(np.float64) @ gallery.T
        own = owners == faces.labels[rows, None]
        own_photo = photos == faces.photos[rows, None]
        other = np.where(own, np.inf, near).min(axis=1)
        same[rows] = _first(np.where(own, near, np.inf).min(axis=1), other)
        cross[rows] = _first(np.where(own & ~own_photo, near, np.inf).min(axis=1), other)
    return same, cross


def _first(own: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isinf(own), np.nan, (own < other).astype(np.float64))


def _mean(values: NDArray[np.generic] | Sequence[float]) -> float | None:
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[~np.isnan(numbers)]
    return float(numbers.mean()) if len(numbers) else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
