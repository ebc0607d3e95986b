"""How near strangers come to galleries of the people validated on, by how many are enrolled."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facedb.aggregation import DEFAULT_AGGREGATION
from facedb.evaluation.curves import points
from facedb.evaluation.metrics import threshold_at
from facedb.evaluation.search import Probes, Templates, search
from facedb.strangers import ENCODERS_FPIR
from facedb.training.data import CLEAN, Faces
from facedb.types import Embeddings

_SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_PHOTOS: Final = 5
_DRAWS: Final = 5
_DRAWN: Final = 100
"""Galleries are drawn until so many people were, few in each: who they are decides much."""


def by_gallery_size(embeddings: Embeddings, proof: Faces) -> list[dict[str, Any]]:
    """The operating points of an encoder, as `facedb.operating.at_size` takes them.

    Galleries of so many people are drawn, with five of their clean photos each at most; whoever was
    not drawn is a stranger. Then each of all people is held out in turn, where they are too few for
    the largest of these galleries.

    Args:
        embeddings: float32[n, d] unit rows, one a face.
        proof: who they are.

    Returns:
        By rising size, none where fewer than two people have clean photos. Their distances never
        rise: where chance would have it, the smaller gallery's holds.
    """
    rows = np.flatnonzero(np.array(proof.kinds) == CLEAN)
    names, labels = np.unique(proof.labels[rows], return_inverse=True)
    people, found = len(names), []
    for size in [size for size in _SIZES if 2 * size <= people]:
        random = np.random.default_rng(size)
        draws = range(max(_DRAWS, _DRAWN // size))
        galleries = [random.choice(people, size, replace=False) for _ in draws]
        nearest = [_nearest(embeddings[rows], labels, enrolled) for enrolled in galleries]
        never = set.intersection(*(set(enrolled.tolist()) for enrolled in galleries))
        found.append(_point(size, people - len(never), np.concatenate(nearest)))
    if 2 < people < 2 * _SIZES[-1]:  # of two, each alone is the gallery of one
        held_out = _nearest(embeddings[rows], labels, np.arange(people))
        found.append(_point(people - 1, people, held_out))
    least = np.minimum.accumulate([point["distance"] for point in found]).tolist()
    return [point | {"distance": low} for point, low in zip(found, least, strict=True)]


def _nearest(
    vectors: Embeddings, labels: NDArray[np.int64], enrolled: NDArray[np.int64]
) -> NDArray[np.float64]:
    """float64[m]: from each stranger's photo to the nearest of the enrolled people.

    Where everybody is enrolled, from each photo to the nearest other person.
    """
    places = np.full(labels.max() + 1, -1)
    places[enrolled] = np.arange(len(enrolled))
    owners = places[labels]
    first = [np.flatnonzero(owners == place)[:_PHOTOS] for place in range(len(enrolled))]
    kept = np.concatenate(first)
    gallery = Templates(vectors[kept], owners[kept], np.zeros_like(kept), len(enrolled))
    asked = owners < 0 if (owners < 0).any() else owners >= 0
    shown, none = np.ones(asked.sum(), np.bool_), np.full(asked.sum(), -1)
    probes = Probes(vectors[asked], shown, owners[asked], none)
    return search(probes, gallery, DEFAULT_AGGREGATION).other


def _point(people: int, strangers: int, nearest: NDArray[np.float64]) -> dict[str, Any]:
    """What a card says of a gallery of so many people, measured on so many different strangers."""
    return {
        "people": people,
        "strangers": strangers,
        "distance": max(0.0, threshold_at(nearest, ENCODERS_FPIR)),
        "curve": points(nearest),
    }
