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
