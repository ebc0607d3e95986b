"""People who seem to be enrolled under several names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from facedb.gallery import Gallery
from facedb.types import Embeddings

_BLOCK = 2048  # people looked up at once
_PHOTOS = 256  # of a person compared at once with all of another's
_OTHERS = 4  # the nearest people to whom somebody is compared
SURE = 0.95  # of the threshold: of two people, few are one (docs/evaluation.md)


@dataclass(frozen=True, slots=True)
class Twice:
    """Two names whose photos look like one person's: in the mean, and the nearest two of them.

    Attributes:
        name, other: the two; `name` has the fewer photos.
        distance: between the means of their photos, in [0, 2].
    """

    name: str
    other: str
    distance: float


def enrolled_twice(gallery: Gallery, since: int, threshold: float) -> list[Twice]:
    """Of the people with a template added after the revision `since`, those who look like another.

    Both the means of their photos, brought to length 1, and the nearest two of these lie within
    0.95 of the threshold. The likest first; of pairs that close a circle the farthest is left out,
    so that each can be merged in turn. Who is like two that are not like each other, by the
    threshold, is a folder of both, and is merged with neither.
    """
    limit = SURE * threshold
    store = gallery.store
    new = {
        owner
        for ids, _ in store.added(since, store.revision())
        for owner in store.owners_of(ids.tolist()).values()
    }
    found: dict[tuple[int, int], float] = {}
    order = sorted(new)
    for start in range(0, len(order), _BLOCK):
        found |= dict(_alike(gallery, order[start : start + _BLOCK], limit))
    mixed = _of_several(gallery, found, threshold)
    found = {pair: apart for pair, apart in found.items() if mixed.isdisjoint(pair)}
    people = store.sizes_of(sorted({number for pair in found for number in pair}))
    pairs, group = [], {number: {number} for number in people}
    for (one, other), distance in sorted(found.items(), key=lambda pair: (pair[1], pair[0])):
        # Somebody may have gone meanwhile.
        if one in people and other in people and group[one] is not group[other]:
            group[one] |= group[other]
            group |= dict.fromkeys(group[other], group[one])
            (_, fewer), (_, more) = sorted((people[one], people[other]))
            pairs.append(Twice(fewer, more, distance))
    return pairs


def _alike(
    gallery: Gallery, identities: Sequence[int], limit: float
) -> Iterator[tuple[tuple[int, int], float]]:
    """Pairs of identities, the lesser first, and how far apart the means of their photos are."""
    asked = _Photos(*gallery.store.vectors_of(identities))
    hits = gallery.search(asked.means.astype(np.float32), 1 + _OTHERS)
    rows, columns = np.nonzero(hits.identity_ids >= 0)
    pairs = np.column_stack([asked.people[rows], hits.identity_ids[rows, columns]])
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
    photos = _Photos(*gallery.store.vectors_of(np.unique(pairs).tolist()))
    pairs = pairs[np.isin(pairs, photos.people).all(axis=1)]  # somebody may have gone meanwhile
    places = np.searchsorted(photos.people, pairs)
    apart = np.linalg.norm(photos.means[places[:, 0]] - photos.means[places[:, 1]], axis=1)
    for row in np.flatnonzero(apart <= limit).tolist():
        if photos.nearest(*places[row]) <= limit:
            yield (int(pairs[row, 0]), int(pairs[row, 1])), float(apart[row])


def _of_several(gallery: Gallery, pairs: Iterable[tuple[int, int]], threshold: float) -> set[int]:
    """Who is paired with two people, of whom the means of their photos are farther apart."""
    beside: dict[int, set[int]] = {}
    for one, other in pairs:
        beside.setdefault(one, set()).add(other)
        beside.setdefault(other, set()).add(one)
    several = {number: sorted(near) for number, near in beside.items() if len(near) > 1}
    asked = sorted({number for near in several.values() for number in near})
    photos = _Photos(*gallery.store.vectors_of(asked))
    mean = dict(zip(photos.people.tolist(), photos.means, strict=True))
    return {
        number
        for number, near in several.items()
        for one, other in combinations([mean[other] for other in near if other in mean], 2)
        if np.linalg.norm(one - other) > threshold
    }


class _Photos:
    """The templates of some people: int64[n] owners, rising, and float32[n, d].

    Attributes:
        people: int64[p], rising.
        means: float64[p, d], of their templates, brought to length 1.
    """

    def __init__(self, owners: NDArray[np.int64], vectors: Embeddings) -> None:
        self._vectors = vectors.astype(np.float64)
        self.people, starts = np.unique(owners, return_index=True)
        self._ends = np.append(starts, len(owners))
        sums = np.add.reduceat(self._vectors, starts) if len(starts) else self._vectors
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        self.means = sums / np.maximum(lengths, np.finfo(np.float64).tiny)

    def nearest(self, one: int, other: int) -> float:
        """The distance between the nearest two photos of two people, by their places."""
        left, right = (self._vectors[self._ends[n] : self._ends[n + 1]] for n in (one, other))
        parts = (left[start : start + _PHOTOS] @ right.T for start in range(0, len(left), _PHOTOS))
        return float(np.sqrt(max(0.0, 2.0 - 2.0 * max(part.max() for part in parts))))
