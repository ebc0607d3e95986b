"""Figures of 1:N identification from ranks and distances. Pure numpy.

Terms and definitions: ISO/IEC 2382-37, and NIST FRTE 1:N for rank, FPIR and FNIR. A probe that
showed no face keeps its place with an infinite distance: it counts as a miss.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def rank_k(ranks: NDArray[np.int64], ks: Sequence[int]) -> dict[int, float]:
    """Share of mated probes whose own identity is among the k nearest (closed set, CMC).

    Args:
        ranks: int64[n], 1 for the nearest identity; 0 where the own identity was not found.
        ks: the ranks wanted.

    Returns:
        k -> share in [0, 1]; NaN without probes.

    >>> rank_k(np.array([1, 1, 2, 0]), [1, 5])
    {1: 0.5, 5: 0.75}
    """
    found = ranks > 0
    return {k: _share(found & (ranks <= k)) for k in ks}


def tpir(ranks: NDArray[np.int64], distances: NDArray[np.float64], threshold: float) -> float:
    """Share of mated probes that are identified: own identity first, and accepted (1 - FNIR).

    Args:
        ranks: as in `rank_k`.
        distances: float64[n] to the nearest identity, in [0, 2] or infinite.
        threshold: the largest distance that accepts.

    >>> tpir(np.array([1, 1, 2]), np.array([0.5, 1.2, 0.4]), 1.0)
    0.3333333333333333
    """
    return _share((ranks == 1) & (distances <= threshold))


def fpir(distances: NDArray[np.float64], threshold: float) -> float:
    """Share of non-mated probes that are accepted as anybody.

    Args:
        distances: float64[n], each to the nearest identity of the whole gallery.
        threshold: the largest distance that accepts.

    >>> fpir(np.array([0.9, 1.1, 1.3, 1.2]), 1.0)
    0.25
    """
    return _share(distances <= threshold)


def _share(hits: NDArray[np.bool_]) -> float:
    return float(np.mean(hits)) if hits.size else float("nan")


def threshold_at(distances: NDArray[np.float64], fpir_wanted: float) -> float:
    """The largest observed distance at which at most `fpir_wanted` of strangers are accepted.

    Args:
        distances: float64[n], each non-mated probe's to the nearest identity of the gallery.
        fpir_wanted: in [0, 1).

    Returns:
        One of `distances`; just below the smallest where even that would accept too many.

    >>> threshold_at(np.array([0.9, 1.0, 1.1, 1.2]), 0.5)
    1.0
    """
    ordered = np.sort(distances)
    accepted = np.searchsorted(ordered, ordered, side="right")
    allowed = ordered[accepted <= fpir_wanted * len(ordered)]
    return float(allowed[-1]) if len(allowed) else float(np.nextafter(ordered[0], -np.inf))


def ten_fold_accuracy(
    distances: NDArray[np.float64], same: NDArray[np.bool_], folds: int = 10
) -> NDArray[np.float64]:
    """Pair accuracy by fold, each at the threshold that is best on the others (LFW, View 2).

    Huang et al., Labeled Faces in the Wild, UMass Amherst TR 07-49, 2007.

    Args:
        distances: float64[n], pairs in the order of the folds, n divisible by `folds`.
        same: bool[n], whether a pair is of one person.

    Returns:
        float64[folds] in [0, 1].
    """
    near, truth = distances.reshape(folds, -1), same.reshape(folds, -1)
    accuracy = np.empty(folds)
    for fold in range(folds):
        others = np.arange(folds) != fold
        threshold = _best_threshold(near[others].ravel(), truth[others].ravel())
        accuracy[fold] = np.mean((near[fold] <= threshold) == truth[fold])
    return accuracy


def _best_threshold(distances: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    order = np.argsort(distances, kind="stable")
    # Accepting the first n of the ordered pairs is right for their mated and the others' non-mated.
    right = np.cumsum(np.where(same[order], 1, -1))
    return float(distances[order[int(np.argmax(right))]])
