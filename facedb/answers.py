"""From embeddings to answers: the nearest people, in order, accepted or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from facedb.aggregation import Aggregation, to_people
from facedb.decision import accepts, chosen, part_of, rank, stacked, taken
from facedb.gallery import Gallery
from facedb.operating import Operating
from facedb.photos.reasons import NO_FACE
from facedb.pipeline import Encoded
from facedb.store import StoredTemplate
from facedb.types import (
    Candidate,
    Comparison,
    Embeddings,
    Face,
    Hits,
    Identification,
    PhotoAnswer,
    Quality,
)

PROPOSED = 32
"""People whose nearest photo is near are ranked anew by all of their photos: at least so many."""

_BLOCK = 64  # probes compared at once with everybody proposed to one of them


def answers(
    encoded: Sequence[Encoded],
    gallery: Gallery,
    operating: Operating,
    aggregation: Aggregation,
    k: int,
) -> list[PhotoAnswer]:
    """Who is in photos that were encoded; one answer a photo, in order.

    Args:
        k: how many people to name for a face.
    """
    probes = np.concatenate([photo.embeddings for photo in encoded])

    def found() -> tuple[Hits, dict[int, StoredTemplate]]:
        ranked = nearest_people(gallery, probes, k, aggregation)
        ids = np.unique(ranked.template_ids[ranked.template_ids >= 0]).tolist()
        return ranked, gallery.store.describe(ids)

    ranked, stored = gallery.at_one_revision(found)
    following = iter(
        [
            _candidates(stored, operating, *row)
            for row in zip(ranked.template_ids.tolist(), ranked.distances.tolist(), strict=True)
        ]
    )
    return [
        PhotoAnswer(
            photo.path,
            photo.reason or (None if photo.faces else NO_FACE),
            tuple(
                _decided(face, next(following), operating, quality)
                for face, quality in zip_longest(photo.faces, photo.qualities)
            ),
        )
        for photo in encoded
    ]


def compared(one: Encoded, other: Encoded, operating: Operating) -> Comparison:
    """Whether the first faces of two photos are of one person."""
    change = one.embeddings[0].astype(np.float64) - other.embeddings[0]
    distance, curve = float(np.linalg.norm(change)), operating.curve
    first, second = (next(iter(photo.qualities), None) for photo in (one, other))
    lost = any(quality is not None and quality.unrecognisable for quality in (first, second))
    decided = not lost and operating.threshold is not None
    return Comparison(
        distance,
        operating.threshold,
        accepts(distance, operating.threshold) if decided else None,
        None if curve is None else curve.share(distance),
        None if curve is None else curve.people,
        (one.faces_found, other.faces_found),
        (first, second),
    )


def nearest_people(gallery: Gallery, probes: Embeddings, k: int, aggregation: Aggregation) -> Hits:
    """The k nearest people of each probe, each with the template that is nearest to it.

    The people with the nearest photos are proposed, exactly; by another aggregation than
    "nearest", those proposed are then ranked by all of their templates.
    """
    if aggregation == "nearest":
        return rank(gallery.search(probes, k), k)
    proposed = max(2 * k, PROPOSED)
    found = rank(gallery.search(probes, proposed), proposed)
    parts = [slice(start, start + _BLOCK) for start in range(0, len(probes), _BLOCK)]
    return stacked(
        [_by_all(gallery, probes[part], part_of(found, part), k, aggregation) for part in parts]
    )


def _by_all(
    gallery: Gallery, probes: Embeddings, found: Hits, k: int, aggregation: Aggregation
) -> Hits:
    """The k nearest by all of their templates, of the people found by the nearest one."""
    people = np.unique(found.identity_ids[found.identity_ids >= 0])
    owners, vectors = gallery.vectors_of(people)
    if len(owners) > len(people):  # with one template each there is nothing to aggregate
        distances = _aggregated(found, probes, people, owners, vectors, aggregation)
        found = Hits(found.template_ids, found.identity_ids, distances)
    return chosen(found, np.lexsort((found.template_ids, found.distances), axis=-1)[:, :k])


def _aggregated(
    found: Hits,
    probes: Embeddings,
    people: NDArray[np.int64],
    owners: NDArray[np.int64],
    vectors: Embeddings,
    aggregation: Aggregation,
) -> NDArray[np.float64]:
    """float64[m, c]: the distances to the people found; `owners` are places in `people`."""
    rule: Aggregation = "mean" if aggregation == "nearest-or-mean" else aggregation
    to_all = to_people(probes, vectors, owners, len(people), rule)
    if aggregation == "nearest-or-mean":
        # The mean of one template is that one, whose exact distance is known.
        to_all[:, np.bincount(owners, minlength=len(people)) == 1] = np.inf
    places = np.searchsorted(people, np.maximum(found.identity_ids, people[0]))
    distances = taken(to_all, places)
    if aggregation == "nearest-or-mean":
        distances = np.minimum(distances, found.distances)
    return np.where(found.identity_ids >= 0, distances, np.inf)


def _candidates(
    stored: Mapping[int, StoredTemplate],
    operating: Operating,
    template_ids: list[int],
    distances: list[float],
) -> tuple[Candidate, ...]:
    curve = operating.curve
    return tuple(
        Candidate(
            found.identity,
            distance,
            number,
            found.photo,
            found.box,
            None if curve is None else curve.share(distance),
        )
        for number, distance in zip(template_ids, distances, strict=True)
        if (found := stored.get(number)) is not None
    )


def _decided(
    face: Face,
    candidates: tuple[Candidate, ...],
    operating: Operating,
    quality: Quality | None,
) -> Identification:
    best, limit = candidates[0] if candidates else None, operating.threshold
    strangers = None if operating.curve is None else operating.curve.people
    found = Identification(None, limit, candidates, face.box, face.score, strangers, quality)
    if best is None or found.unrecognisable or not accepts(best.distance, limit):
        return found
    return replace(found, identity=best.identity)
