"""A search of the index as of one revision: the index proposes, the store disposes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facedb.decision import certain_width, in_order, nearest_first, stacked
from facedb.index import SearchIndex
from facedb.index.faiss import FaissIndex
from facedb.membership import Membership
from facedb.store import Store
from facedb.types import Embeddings, Hits

_SMALL = 1024  # proposals looked up one by one in the store rather than in tables of everything
_SELDOM = 16  # so many times; whoever asks more often is served from memory
_BLOCK = 1024  # probes searched for at once
_RESCORED = 512  # distances computed at once: what the processor's cache holds


@dataclass(slots=True)
class View:
    """An index as of a revision of the store. Threads may search it at once.

    Attributes:
        cache: what is searched: the index itself, or its clone on a GPU.
        verified: whether its vectors are known to be the store's, byte for byte.
    """

    store: Store
    index: FaissIndex
    cache: SearchIndex
    revision: int
    verified: bool
    _members: Membership | None = None
    _lookups: int = 0

    def search(self, probes: Embeddings, k: int) -> Hits:
        """As `Gallery.search`."""
        return stacked(
            [
                self._search(probes[start : start + _BLOCK], k)
                for start in range(0, len(probes), _BLOCK)
            ]
        )

    def vectors_of(
        self, identity_ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], Embeddings] | None:
        """As `Gallery.vectors_of`; None where they are not in memory."""
        if self._members is None:
            return None
        places, template_ids = self._members.templates(identity_ids)
        vectors = self._in_memory(template_ids)
        return None if vectors is None else (places, vectors)

    def _search(self, probes: Embeddings, k: int) -> Hits:
        count = self.cache.count
        asked = min(count, max(4 * k, 32))
        rows = np.arange(len(probes))
        found: list[tuple[NDArray[np.int64], Hits]] = []
        while count and rows.size:
            ids, near = self.cache.search(probes[rows], asked)
            owners = self._owners(ids)
            width = certain_width(near, owners, k, self.cache.tolerance, asked >= count)
            done = width > 0
            if done.any():
                row, column = np.nonzero(np.arange(asked) < width[done, None])
                at = np.flatnonzero(done)[row], column
                distances = self._distances(probes[rows[done]], row, ids[at])
                hits = nearest_first(row, column, ids[at], owners[at], distances)
                found.append((rows[done], hits))
            rows = rows[~done]
            asked = min(count, asked * 4)
        return in_order(found, len(probes))

    def _owners(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[m, c] identities; -1 where a template is no longer stored."""
        self._lookups += 1
        if self._members is None and ids.size <= _SMALL and self._lookups <= _SELDOM:
            owners = self.store.owners_of(np.unique(ids).tolist())
            found = [owners.get(template_id, -1) for template_id in ids.ravel().tolist()]
            return np.array(found, dtype=np.int64).reshape(ids.shape)
        if self._members is None:
            self._members = Membership(*self.store.identity_ids())
        return self._members.owners(ids)

    def _distances(
        self, probes: Embeddings, rows: NDArray[np.int64], ids: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """float64[t]: from the probe in each row to a template; infinite where it is gone."""
        distances = np.empty(len(ids))
        for start in range(0, len(ids), _RESCORED):
            part = slice(start, start + _RESCORED)
            vectors = self._in_memory(ids[part])
            if vectors is None:
                vectors = self._stored(ids[part])
            difference = probes[rows[part]].astype(np.float64) - vectors
            distances[part] = np.sqrt(np.einsum("td,td->t", difference, difference))
        return distances

    def _in_memory(self, ids: NDArray[np.int64]) -> Embeddings | None:
        """The store's vectors without asking it: a verified snapshot's rows are the same bytes."""
        return self.index.vectors_of(ids) if self.verified else None

    def _stored(self, ids: NDArray[np.int64]) -> Embeddings:
        """float32[t, d]: the store's vectors; infinite where there is none."""
        known = self.store.vectors_at(np.unique(ids).tolist())
        gone = np.full(self.store.pin.dim, np.inf, dtype=np.float32)
        return np.stack([known.get(template_id, gone) for template_id in ids.tolist()])
