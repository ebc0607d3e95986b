"""Curves of 1:N identification: CMC, DET, error against reject. Pure numpy."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facedb.evaluation.metrics import threshold_at

SHARES: Final = (
    *(0.0005, 0.001, 0.0015, 0.002, 0.0025, 0.003, 0.004, 0.005, 0.0065, 0.008),
    *(0.01, 0.0125, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5),
)
"""Of strangers, where an encoder's card says how near they come."""


def cmc(ranks: NDArray[np.int64], most: int) -> NDArray[np.float64]:
    """Cumulative match characteristic: rank-1, rank-2, ... up to `most`.

    Args:
        ranks: int64[n], 1 for the nearest identity; 0 where the own identity was not found.
        most: the last rank, 1 or more.

    Returns:
        float64[most] in [0, 1], rising; NaN without probes.

    >>> cmc(np.array([1, 3, 0, 1]), 3).tolist()
    [0.5, 0.5, 0.75]
    """
    if not ranks.size:
        return np.full(most, np.nan)
    counts = np.bincount(ranks[(ranks > 0) & (ranks <= most)], minlength=most + 1)
    return np.asarray(np.cumsum(counts[1:]) / len(ranks), dtype=np.float64)


def det(
    ranks: NDArray[np.int64], own: NDArray[np.float64], strangers: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Detection error trade-off of identification (NIST FRTE 1:N): FNIR(N, 1, T) against FPIR.

    Args:
        ranks: int64[n] of the mated probes, as in `cmc`.
        own: float64[n], their distance to their own identity; infinite without a face.
        strangers: float64[m], each non-mated probe's distance to the nearest identity.

    Returns:
        float64[t] each: thresholds (the strangers' finite distances, rising), FPIR and FNIR there.

    >>> thresholds, accepted, missed = det(
    ...     np.array([1, 1]), np.array([0.7, 1.0]), np.array([0.9, 1.1])
    ... )
    >>> accepted.tolist(), missed.tolist()
    ([0.5, 1.0], [0.5, 0.0])
    """
    ordered = np.sort(strangers)
    thresholds = np.unique(ordered[np.isfinite(ordered)])
    accepted = np.searchsorted(ordered, thresholds, side="right") / max(1, len(ordered))
    first = np.sort(own[ranks == 1])
    found = np.searchsorted(first, thresholds, side="right") / max(1, len(ranks))
    return thresholds, accepted, 1.0 - found


def error_versus_reject(
    quality: NDArray[np.float64], wrong: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Error of what is kept when the probes of the lowest quality are turned away first.

    Grother and Tabassi, IEEE PAMI 29(4), 2007; ISO/IEC 29794-1. A quality that says something
    makes the curve fall. Probes of one quality go together.

    Args:
        quality: float64[n], larger is better.
        wrong: bool[n], whether the probe was answered wrongly.

    Returns:
        float64[q] each, for every distinct quality: the share turned away, rising from 0, and the
        share of errors among those kept.

    >>> away, error = error_versus_reject(
    ...     np.array([0.1, 0.9, 0.8, 0.1]), np.array([True, False, True, False])
    ... )
    >>> away.tolist(), error.tolist()
    ([0.0, 0.5, 0.75], [0.5, 0.5, 0.0])
    """
    levels, place = np.unique(quality, return_inverse=True)
    number = np.bincount(place, minlength=len(levels))
    errors = np.bincount(place, weights=wrong, minlength=len(levels))
    kept, bad = np.cumsum(number[::-1])[::-1], np.cumsum(errors[::-1])[::-1]
    return 1.0 - kept / max(1, len(quality)), bad / kept


def points(nearest: NDArray[np.float64]) -> list[list[float]]:
    """A card's curve: [share, distance] of the nearest, at SHARES, and of the farthest; rising.

    Args:
        nearest: float64[n], each stranger's distance to the nearest identity; one or more finite.

    Returns:
        Distances cut to four digits, so that a share is never too small.

    >>> points(np.array([1.0, 0.90009, 1.1, 1.2]))
    [[0.25, 0.9], [0.3, 0.9], [0.5, 1.0], [1.0, 1.2]]
    """
    first, last = float(nearest.min()), float(nearest[np.isfinite(nearest)].max())
    least = float((nearest <= first).mean())
    found = [[share, threshold_at(nearest, share)] for share in SHARES if share > least]
    every = [[least, first], *found, [1.0, last]]
    return [[share, math.floor(1e4 * distance) / 1e4] for share, distance in every]
