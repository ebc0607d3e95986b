"""What the figures show, as numbers: pairs, outliers, neighbours, the sphere. Pure numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facedb.evaluation.metrics import auc
from facedb.training.data import CLEAN
from facedb.training.samplers import Blocks
from facedb.training.validation import pair_distances
from facedb.types import Embeddings

_BLOCK = 1024
_TRIES = 20  # a pair wanted, after which there are no others


@dataclass(frozen=True, slots=True)
class Embedded:
    """Photos of people as an encoder sees them: what `embeddings.npz` of a run folder holds.

    Attributes:
        embeddings: float32[n, d], unit rows.
        labels: int64[n], the person, an index into `names`.
        photos: int64[n], the same number for all versions of one photo.
        kinds: what was done to each photo, "clean" for nothing.
        paths: their files.
        names: the people.
    """

    embeddings: Embeddings
    labels: NDArray[np.int64]
    photos: NDArray[np.int64]
    kinds: tuple[str, ...]
    paths: tuple[str, ...]
    names: tuple[str, ...]


class Distances(NamedTuple):
    """float64 distances, in [0, 2], of pairs of one person and of pairs of two."""

    same: NDArray[np.float64]
    different: NDArray[np.float64]


class Neighbours(NamedTuple):
    """Whom each of n pictures lies near.

    Attributes:
        rows: int64[n, k], nearest first; -1 where there are fewer than k.
        distances: float64[n, k], in [0, 2]; infinite there.
        mated: bool[n], whether the right person could be found at all.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float64]
    mated: NDArray[np.bool_]


def validation_pairs(
    embeddings: Embeddings,
    labels: NDArray[np.int64],
    photos: NDArray[np.int64],
    n: int = 1000,
    seed: int = 0,
    cross_photo: bool = False,
) -> Distances:
    """Distances of n pairs, half of one person and half of two, each pair once.

    Args:
        embeddings: float32[m, d], unit rows.
        labels, photos: int64[m], who a picture shows, and of which photo it is a version.
        n: how many pairs.
        seed: decides which.
        cross_photo: mated pairs show two photos of the person; else any two pictures, which may
            be two versions of one photo.

    Returns:
        n // 2 distances of each kind, or fewer where there are not so many pairs of it.
    """
    rng = np.random.default_rng(seed)
    apart = photos if cross_photo else np.arange(len(labels))
    able = np.flatnonzero(Blocks.of(labels, apart).other_photos > 0)
    mated = _drawn(rng, able, n // 2, lambda row: (labels == labels[row]) & (apart != apart[row]))
    able = np.arange(len(labels) if len(np.unique(labels)) > 1 else 0)
    others = _drawn(rng, able, n // 2, lambda row: labels != labels[row])
    return Distances(pair_distances(embeddings, mated), pair_distances(embeddings, others))


def _drawn(
    rng: np.random.Generator,
    able: NDArray[np.intp],
    n: int,
    partners: Callable[[int], NDArray[np.bool_]],
) -> NDArray[np.int64]:
    """int64[n, 2] pairs of rows: one of `able` with one of its partners, no pair twice."""
    pairs: dict[tuple[int, int], None] = {}
    for row in rng.choice(able, _TRIES * n).tolist() if len(able) else []:
        other = int(rng.choice(np.flatnonzero(partners(row))))
        pairs[min(row, other), max(row, other)] = None
        if len(pairs) == n:
            break
    return np.array(list(pairs), dtype=np.int64).reshape(-1, 2)


def outliers(distances: NDArray[np.float64]) -> int:
    """How many lie more than 1.5 interquartile ranges outside the quartiles.

    The fences of Tukey, Exploratory Data Analysis, 1977; quartiles interpolated linearly.
    """
    if not len(distances):
        return 0
    low, high = np.percentile(distances, [25, 75])
    reach = 1.5 * (high - low)
    return int(((distances < low - reach) | (distances > high + reach)).sum())


def pair_accuracy(pairs: Distances, threshold: float) -> float:
    """Share of pairs told right when a distance below `threshold` means one person.

    Each kind of pairs weighs half, however many there are; NaN without both.
    """
    if not len(pairs.same) or not len(pairs.different):
        return float("nan")
    return float(np.mean(pairs.same < threshold) + np.mean(pairs.different >= threshold)) / 2


def best_accuracy(pairs: Distances) -> float:
    """The pair accuracy at the threshold that suits these very pairs best: an upper bound."""
    thresholds = np.unique(np.concatenate([*pairs, [0.0, np.inf]]))
    return max(pair_accuracy(pairs, float(threshold)) for threshold in thresholds)


def pair_auc(pairs: Distances) -> float:
    """Chance that a pair of one person is nearer than a pair of two; NaN without both."""
    same = np.arange(len(pairs.same) + len(pairs.different)) < len(pairs.same)
    return auc(np.concatenate(pairs), same)


def nearest(embedded: Embedded, k: int = 5, cross_photo: bool = True) -> Neighbours:
    """The k clean pictures nearest to each picture, itself left out.

    Args:
        embedded: the pictures; where none is clean, all count as such.
        k: how many neighbours.
        cross_photo: leave out the picture's own photo, of which it may be a version.
    """
    n, k = len(embedded.labels), min(k, len(embedded.labels))
    own = embedded.photos if cross_photo else np.arange(n)
    clean = np.array([kind == CLEAN for kind in embedded.kinds])
    clean |= not clean.any()
    found = Neighbours(np.empty((n, k), np.int64), np.empty((n, k)), np.empty(n, np.bool_))
    for start in range(0, n, _BLOCK):
        part = slice(start, start + _BLOCK)
        squared = 2 - 2 * (embedded.embeddings[part] @ embedded.embeddings.T).astype(np.float64)
        able = clean & (own[part, None] != own)
        distances = np.where(able, np.sqrt(np.maximum(squared, 0)), np.inf)
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        found.distances[part] = np.take_along_axis(distances, order, axis=1)
        found.rows[part] = np.where(np.isfinite(found.distances[part]), order, -1)
        found.mated[part] = (able & (embedded.labels[part, None] == embedded.labels)).any(axis=1)
    return found


def choose_probes(
    labels: NDArray[np.int64], found: Neighbours, count: int = 8, seed: int = 0
) -> tuple[list[int], list[int]]:
    """Which pictures to show: half of them the worst mistakes, the rest drawn at random.

    The worst mistake is the mated picture that lies nearest to somebody else who is its nearest
    neighbour. A person is shown once as long as there are others.

    Returns:
        rows of the mistakes, worst first, count // 2 or as many as there are; rows of the rest.
    """
    wrong = found.mated & (labels[found.rows[:, 0]] != labels)
    order = np.argsort(found.distances[:, 0], kind="stable")
    people = labels.tolist()
    mistakes = _of_many_people(order[wrong[order]].tolist(), people, count // 2, [])
    rest = np.setdiff1d(np.flatnonzero(found.mated), mistakes)
    shuffled = np.random.default_rng(seed).permutation(rest).tolist()
    return mistakes, _of_many_people(shuffled, people, count - len(mistakes), mistakes)


def _of_many_people(rows: list[int], people: list[int], count: int, shown: list[int]) -> list[int]:
    """The first `count` of the rows, those of people not shown yet before the others."""
    seen = {people[row] for row in shown}
    fresh: list[int] = []
    again: list[int] = []
    for row in rows:
        (again if people[row] in seen else fresh).append(row)
        seen.add(people[row])
    return (fresh + again)[:count]


def sphere_density(distances: NDArray[np.float64], dim: int) -> NDArray[np.float64]:
    """Density of the distance of two random unit vectors of `dim` numbers, at float64[n] places.

    It is s^(d-2) (1 - s^2/4)^((d-3)/2) Gamma(d/2) / (sqrt(pi) Gamma((d-1)/2)) on [0, 2]
    (Wu, Manmatha, Smola and Kraehenbuehl, Sampling Matters in Deep Embedding Learning, ICCV 2017,
    there without the constant). In many dimensions nearly all of it lies near sqrt(2).

    Args:
        distances: inside (0, 2).
        dim: 3 or more.
    """
    constant = math.lgamma(dim / 2) - math.lgamma((dim - 1) / 2) - math.log(math.pi) / 2
    inside = np.log1p(-(distances**2) / 4)
    density: NDArray[np.float64] = np.exp(
        constant + (dim - 2) * np.log(distances) + (dim - 3) / 2 * inside
    )
    return density
