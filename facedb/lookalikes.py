"""Enrolled faces that look like somebody else: a wrong folder, or a bystander who was larger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facedb.gallery import Gallery
from facedb.types import Embeddings

_BLOCK = 256  # templates of one person compared at once with all of that person's


@dataclass(frozen=True, slots=True)
class Lookalike:
    """An enrolled photo that the gallery would accept as another person, and not as its own.

    Attributes:
        path: the photo, and `identity` whom it is enrolled as.
        other: the person it looks like, and `photo` the nearest photo of theirs.
        distance: from the one photo to the other, in [0, 2].
    """

    path: str
    identity: str
    other: str
    photo: str
    distance: float


def lookalikes(gallery: Gallery, since: int, threshold: float) -> list[Lookalike]:
    """Of the templates added after the revision `since`, those that look like somebody else; the
    likest first.

    Such a template lies farther than the threshold from every other photo of its person, and within
    it of somebody else's. A person's only photo has none to be compared with, and is not doubted.
    """
    found: list[Lookalike] = []
    for template_ids, vectors in gallery.store.added(since, gallery.store.revision()):
        owners, odd = _unlike_their_own(gallery, template_ids, vectors, threshold)
        found += _like_others(gallery, template_ids[odd], owners[odd], vectors[odd], threshold)
    return _without_victims(sorted(found, key=lambda one: (one.distance, one.path)))


def _without_victims(found: list[Lookalike]) -> list[Lookalike]:
    """Without those who resemble a photo that itself is nearer to another of their person.

    Of two that resemble each other most, either may be the wrong one: both stay.
    """
    strayed = {(one.path, one.other): one.distance for one in found}
    return [one for one in found if strayed.get((one.photo, one.identity), np.inf) >= one.distance]


def _unlike_their_own(
    gallery: Gallery, template_ids: NDArray[np.int64], vectors: Embeddings, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """int64[n] identities, -1 of what is gone, and bool[n]: far from the others of the person."""
    known = gallery.store.owners_of(template_ids.tolist())
    owners = np.array([known.get(number, -1) for number in template_ids.tolist()], dtype=np.int64)
    odd = np.zeros(len(owners), dtype=np.bool_)
    people = np.unique(owners[owners >= 0])
    # Of the store: what the gallery has in memory is as of its last search.
    stored, theirs = gallery.store.vectors_of(people.tolist())
    places = np.searchsorted(people, stored)
    starts = np.searchsorted(places, np.arange(len(people) + 1))
    order = np.argsort(owners, kind="stable")
    rows = np.split(order, np.searchsorted(owners[order], people))[1:]
    for place, mine in enumerate(rows):
        own = theirs[starts[place] : starts[place + 1]]
        if len(own) > 1:
            for part in range(0, len(mine), _BLOCK):
                block = mine[part : part + _BLOCK]
                odd[block] = _second_least(vectors[block], own) > threshold
    return owners, odd


def _second_least(vectors: Embeddings, own: Embeddings) -> NDArray[np.float64]:
    """float64[n]: the distance of each vector to the nearest of a person's that is not itself."""
    squared = 2.0 - 2.0 * (vectors.astype(np.float64) @ own.T.astype(np.float64))
    return np.asarray(np.sqrt(np.maximum(np.partition(squared, 1, axis=1)[:, 1], 0.0)))


def _like_others(
    gallery: Gallery,
    template_ids: NDArray[np.int64],
    owners: NDArray[np.int64],
    vectors: Embeddings,
    threshold: float,
) -> Iterator[Lookalike]:
    if not len(template_ids):
        return
    # Two people: the template's own, whose nearest photo is itself, and the nearest other.
    hits = gallery.search(vectors, 2)
    others = np.where(hits.identity_ids == owners[:, None], np.inf, hits.distances)
    nearest = others.argmin(axis=1)
    rows = np.flatnonzero(others.min(axis=1) <= threshold)
    pairs = np.column_stack([template_ids[rows], hits.template_ids[rows, nearest[rows]]])
    stored = gallery.store.describe(np.unique(pairs).tolist())
    for row, (one, other) in zip(rows, pairs.tolist(), strict=True):
        if one in stored and other in stored:
            mine, theirs = stored[one], stored[other]
            yield Lookalike(
                mine.photo,
                mine.identity,
                theirs.identity,
                theirs.photo,
                float(others[row, nearest[row]]),
            )
