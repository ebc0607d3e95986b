"""How the distances to a person's templates become one distance to the person. Pure numpy."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

Aggregation: TypeAlias = Literal["nearest-or-mean", "nearest", "mean", "top-3"]
"""How the distances to a person's templates become one distance to the person.

nearest: the least. mean: the distance to the mean of the templates, brought to length 1.
nearest-or-mean: the lesser of these two. top-3: the root mean square of the three least (of all,
where there are fewer). With one template a person they are the same.
"""
AGGREGATIONS: Final[tuple[Aggregation, ...]] = get_args(Aggregation)
DEFAULT_AGGREGATION: Final[Aggregation] = "nearest-or-mean"
"""Chosen by DIR at an FPIR of 1 % on LFW's development people; docs/evaluation.md has today's."""


def to_people(
    probes: NDArray[np.floating],
    vectors: NDArray[np.floating],
    owners: NDArray[np.int64],
    people: int,
    aggregation: Aggregation,
    hidden: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """float64[m, people]: the distance from each probe to each person.

    Args:
        probes: [m, d].
        vectors: [t, d] templates, sorted by owner.
        owners: int64[t] in [0, people), rising.
        people: how many there are; who has no template is infinitely far.
        aggregation: see `Aggregation`.
        hidden: bool[m, t], templates that are not there for a probe.
    """
    left, right = probes.astype(np.float64), vectors.astype(np.float64)
    present, starts = np.unique(owners, return_index=True)
    distances = np.full((len(left), people), np.inf)
    if not len(present):
        return distances
    if "mean" in aggregation:
        distances[:, present] = _to_means(left, right, starts, hidden)
    if aggregation != "mean":
        squared = _squared_distances(left, right)
        if hidden is not None:
            squared[hidden] = np.inf
        least = _root_mean_of_least(squared, starts, 3 if aggregation == "top-3" else 1)
        distances[:, present] = np.minimum(distances[:, present], least)
    return distances


def _to_means(
    probes: NDArray[np.float64],
    vectors: NDArray[np.float64],
    starts: NDArray[np.int64],
    hidden: NDArray[np.bool_] | None,
) -> NDArray[np.float64]:
    sums = np.add.reduceat(vectors, starts, axis=0)
    distances = np.sqrt(_squared_distances(probes, _directions(sums)))
    if hidden is None or not hidden.any():
        return distances
    # The means without what is hidden: one for each probe and person where something is.
    groups = np.searchsorted(starts, np.arange(len(vectors)), side="right") - 1
    rows, columns = np.nonzero(hidden)
    pairs, place = np.unique(rows * len(starts) + groups[columns], return_inverse=True)
    row, group = np.divmod(pairs, len(starts))
    without = sums[group]
    np.subtract.at(without, place, vectors[columns])
    left = np.bincount(groups)[group] - np.bincount(place)
    change = probes[row] - _directions(without)
    nearer = np.sqrt(np.einsum("nd,nd->n", change, change))
    distances[row, group] = np.where(left > 0, nearer, np.inf)
    return distances


def _directions(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows brought to length 1; templates that cancel out stay where they are."""
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.where(lengths > 0, lengths, 1.0))


def _root_mean_of_least(
    squared: NDArray[np.float64], starts: NDArray[np.int64], most: int
) -> NDArray[np.float64]:
    """float64[m, groups] of the columns' groups that begin at `starts`; infinite values are out."""
    if most == 1:
        return np.asarray(np.sqrt(np.minimum.reduceat(squared, starts, axis=1)))
    ends = np.append(starts[1:], squared.shape[1])
    groups = np.repeat(np.arange(len(starts)), ends - starts)
    # Squared distances are at most 4: set apart by 16, one sort orders every group at once.
    apart = np.where(np.isfinite(squared), squared, 8.0) + 16.0 * groups
    ordered = np.sort(apart, axis=1) - 16.0 * groups
    total = np.zeros((len(squared), len(starts)))
    count = np.zeros_like(total)
    for place in range(most):
        values = ordered[:, np.minimum(starts + place, ends - 1)]
        valid = (starts + place < ends)[None, :] & (values < 8.0)
        total += np.where(valid, values, 0.0)
        count += valid
    return np.sqrt(np.where(count > 0, np.maximum(total, 0.0) / np.maximum(count, 1), np.inf))


def _squared_distances(
    probes: NDArray[np.float64], vectors: NDArray[np.float64]
) -> NDArray[np.float64]:
    squared = probes @ vectors.T
    squared *= -2.0
    squared += np.einsum("nd,nd->n", probes, probes)[:, None]
    squared += np.einsum("td,td->t", vectors, vectors)[None, :]
    return np.asarray(np.maximum(squared, 0.0, out=squared))
