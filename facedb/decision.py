"""From template hits to ranked identities, accepted or not. Pure numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facedb.types import Hits


def first_of_each(identity_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool[m, c]: where an identity appears for the first time in its row; never at -1."""
    order = np.argsort(identity_ids, axis=1, kind="stable")
    ordered = np.take_along_axis(identity_ids, order, axis=1)
    new = np.ones(ordered.shape, dtype=np.bool_)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.empty_like(new)
    np.put_along_axis(first, order, new, axis=1)
    return first & (identity_ids >= 0)


def rank(hits: Hits, k: int) -> Hits:
    """The k nearest identities of each probe, each by its nearest template.

    Args:
        hits: rows in order of rising distance.
        k: 1 or more.

    Returns:
        Hits of at most k columns in which no identity appears twice in a row.
    """
    first = first_of_each(hits.identity_ids)
    # A stable sort of "not the first" moves the firsts to the front in their own order.
    columns = np.argsort(~first, axis=1, kind="stable")[:, :k]
    keep = np.take_along_axis(first, columns, axis=1)
    return Hits(
        np.where(keep, np.take_along_axis(hits.template_ids, columns, axis=1), -1),
        np.where(keep, np.take_along_axis(hits.identity_ids, columns, axis=1), -1),
        np.where(keep, np.take_along_axis(hits.distances, columns, axis=1), np.inf),
    )


def accepts(distance: float, threshold: float | None) -> bool:
    """Whether a distance identifies; never without a threshold, nor for NaN."""
    return threshold is not None and distance <= threshold
