"""From template hits to ranked identities, accepted or not. Pure numpy."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from facedb.types import Hits

_T = TypeVar("_T", bound=np.generic)


def first_of_each(identity_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool[m, c]: where an identity appears for the first time in its row; never at -1."""
    order = np.argsort(identity_ids, axis=1, kind="stable")
    ordered = taken(identity_ids, order)
    new = ordered >= 0
    new[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    first = np.empty_like(new)
    first[np.arange(len(order))[:, None], order] = new
    return first


def taken(values: NDArray[_T], columns: NDArray[np.int64]) -> NDArray[_T]:
    """[m, c]: of each row the values in its columns: np.take_along_axis, which is slow for few."""
    return values[np.arange(len(columns))[:, None], columns]


def chosen(hits: Hits, columns: NDArray[np.int64]) -> Hits:
    """Of each row the hits in its columns, int64[m, c], in that order."""
    return Hits(
        taken(hits.template_ids, columns),
        taken(hits.identity_ids, columns),
        taken(hits.distances, columns),
    )


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
    ranked, over = chosen(hits, columns), ~taken(first, columns)
    ranked.template_ids[over] = -1
    ranked.identity_ids[over] = -1
    ranked.distances[over] = np.inf
    return ranked


def accepts(distance: float, threshold: float | None) -> bool:
    """Whether a distance identifies; never without a threshold, nor for NaN."""
    return threshold is not None and distance <= threshold


def certain_width(
    near: NDArray[np.float32],
    owners: NDArray[np.int64],
    k: int,
    tolerance: float,
    everything: bool,
) -> NDArray[np.int64]:
    """int64[m]: how many proposals settle the k nearest identities; 0 where more are needed.

    The k-th identity is certain when the last proposal lies beyond it by more than the index can
    be wrong: then no template that was not proposed can be nearer.
    """
    squared = near.astype(np.float64) ** 2
    place = np.cumsum(first_of_each(owners), axis=1)
    reached = place[:, -1] >= k
    kth = squared[np.arange(len(near)), np.argmax(place >= k, axis=1)]
    width: NDArray[np.int64] = (squared <= (kth + 2 * tolerance)[:, None]).sum(axis=1)
    columns = near.shape[1]
    ended = np.isinf(near[:, -1]) | everything
    width[~reached] = columns
    width[(width == columns) & ~ended] = 0
    return width


def nearest_first(
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    template_ids: NDArray[np.int64],
    identity_ids: NDArray[np.int64],
    distances: NDArray[np.float64],
) -> Hits:
    """Hits by rising distance, then template id, out of a list of them.

    Args:
        rows, columns: int64[t], the probe of each and a place of its own there; every row occurs.
        template_ids, identity_ids, distances: [t]; infinite or of nobody is none.
    """
    gone = (identity_ids < 0) | np.isinf(distances)
    shape, at = (int(rows[-1]) + 1, int(columns.max()) + 1), (rows, columns)
    hits = Hits(np.full(shape, -1), np.full(shape, -1), np.full(shape, np.inf))
    hits.template_ids[at] = np.where(gone, -1, template_ids)
    hits.identity_ids[at] = np.where(gone, -1, identity_ids)
    hits.distances[at] = np.where(gone, np.inf, distances)
    return chosen(hits, np.lexsort((hits.template_ids, hits.distances), axis=-1))


def in_order(found: list[tuple[NDArray[np.int64], Hits]], probes: int) -> Hits:
    """One Hits of `probes` rows out of parts, each with the int64 rows that it belongs in."""
    if len(found) == 1 and len(found[0][0]) == probes:
        return found[0][1]
    width = max((hits.distances.shape[1] for _, hits in found), default=0)
    ids = np.full((probes, width), -1, dtype=np.int64)
    owners = np.full((probes, width), -1, dtype=np.int64)
    distances = np.full((probes, width), np.inf)
    for rows, hits in found:
        columns = hits.distances.shape[1]
        ids[rows, :columns] = hits.template_ids
        owners[rows, :columns] = hits.identity_ids
        distances[rows, :columns] = hits.distances
    return Hits(ids, owners, distances)


def part_of(hits: Hits, rows: slice) -> Hits:
    """The hits of some probes."""
    return Hits(hits.template_ids[rows], hits.identity_ids[rows], hits.distances[rows])


def stacked(blocks: list[Hits]) -> Hits:
    """Hits one below the other."""
    if len(blocks) == 1:
        return blocks[0]
    starts = np.cumsum([0, *(len(block.distances) for block in blocks)])
    rows = [np.arange(starts[n], starts[n + 1]) for n in range(len(blocks))]
    return in_order(list(zip(rows, blocks, strict=True)), int(starts[-1]))
