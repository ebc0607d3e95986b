"""`evaluate DIR`: which photos are probes of whom, and how often the gallery is right."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facedb.decision import rank
from facedb.enrollment import NO_FACE, Progress, Refusal
from facedb.errors import InputError
from facedb.evaluation.metrics import fpir, rank_k, tpir
from facedb.identify import FaceDB
from facedb.photos import walk_people
from facedb.pipeline import Encoded, encode_photos
from facedb.types import Embeddings

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """How often the gallery was right.

    Attributes:
        protocol: "gallery": against the people enrolled; "leave-one-out": each photo against all
            others of the folder, since none of its people is enrolled.
        identities, templates: the size of the gallery that was searched.
        mated: probes whose person is enrolled.
        non_mated: probes of strangers.
        rank: k -> share of mated probes whose person is among the k nearest, in [0, 1].
        threshold: the largest distance that accepts; None when nobody calibrated one.
        tpir: share of mated probes identified at the threshold (1 - FNIR); None without one.
        fpir: share of non-mated probes accepted at it; None without it or without strangers.
        refused: photos that showed no face or could not be read. A mated one counts as a miss
            (failure to acquire), a non-mated one as a stranger turned away.
        enrolled: photos left out, since they are in the gallery themselves.
        seconds: wall time.
    """

    protocol: str
    identities: int
    templates: int
    mated: int
    non_mated: int
    rank: dict[int, float]
    threshold: float | None
    tpir: float | None
    fpir: float | None
    refused: tuple[Refusal, ...]
    enrolled: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Searched:
    """What the search of n probes gave.

    Attributes:
        mated: bool[n].
        ranks: int64[n], the rank of the own identity; 0 where it is not among those found.
        nearest: float64[n], the distance to the nearest identity; infinite without a face.
    """

    mated: NDArray[np.bool_]
    ranks: NDArray[np.int64]
    nearest: NDArray[np.float64]


def evaluate(
    db: FaceDB, folder: str, ks: Sequence[int] = (1, 5, 10), progress: Progress | None = None
) -> EvaluationReport:
    """Identify every photo of a folder of people and compare with the folder's name.

    A probe whose person is enrolled is mated, any other is non-mated. When nobody in the folder
    is enrolled, each photo is searched among all the others, and is mated when its person has
    another photo there. A photo that is in the gallery itself is never a probe.

    Raises:
        InputError: the folder holds no photos of people.
    """
    began = time.monotonic()
    entries = walk_people(folder).entries
    if not entries:
        raise InputError(f"{folder}: no photos here in a folder per person")
    enrolled = _identity_ids(db)
    names = [entry.identity for entry in entries]
    alone = not any(name in enrolled for name in names)
    probes = _encoded(db, [entry.path for entry in entries], progress)
    if alone:
        left_out = 0
        searched, size = _leave_one_out(probes, names)
    else:
        store = db.gallery.store
        kept = [n for n, probe in enumerate(probes) if probe.sha256 not in store]
        left_out = len(probes) - len(kept)
        probes = [probes[n] for n in kept]
        owners = np.array([enrolled.get(names[n], -1) for n in kept], dtype=np.int64)
        searched = _search(db, probes, owners, max(ks))
        size = len(set(enrolled.values())), db.gallery.store.count()
    return EvaluationReport(
        protocol="leave-one-out" if alone else "gallery",
        identities=size[0],
        templates=size[1],
        **_figures(searched, ks, db.threshold),
        refused=tuple(Refusal(p.path, p.reason or NO_FACE) for p in probes if not p.faces),
        enrolled=left_out,
        seconds=time.monotonic() - began,
    )


def _identity_ids(db: FaceDB) -> dict[str, int]:
    """name or alias -> identity id."""
    if not db.exists:
        return {}
    return {
        name: person.identity_id
        for person in db.gallery.store.people()
        for name in (person.name, *person.aliases)
    }


def _encoded(db: FaceDB, paths: list[str], progress: Progress | None) -> list[Encoded]:
    probes: list[Encoded] = []
    for probe in encode_photos(paths, db.detector, db.encoder):
        probes.append(probe)
        if progress is not None:
            progress(len(probes), len(paths))
    return probes


def _search(db: FaceDB, probes: list[Encoded], owners: NDArray[np.int64], k: int) -> _Searched:
    rows = _with_faces(probes)
    found = rank(db.gallery.search(_embeddings(probes, db.encoder.dim), k), k)
    own = found.identity_ids == owners[rows][:, None]
    ranks = np.zeros(len(probes), dtype=np.int64)
    ranks[rows] = np.where(own.any(axis=1), own.argmax(axis=1) + 1, 0)
    nearest = np.full(len(probes), np.inf)
    if found.distances.shape[1]:
        nearest[rows] = found.distances[:, 0]
    return _Searched(owners >= 0, np.where(owners >= 0, ranks, 0), nearest)


def _leave_one_out(probes: list[Encoded], names: list[str]) -> tuple[_Searched, tuple[int, int]]:
    people, owners = np.unique(names, return_inverse=True)
    rows = _with_faces(probes)
    digests = np.array([probes[row].sha256 for row in rows], dtype=np.str_)
    ranks = np.zeros(len(probes), dtype=np.int64)
    nearest = np.full(len(probes), np.inf)
    vectors = _embeddings(probes, 0)
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        distances = _distances(vectors[block], vectors)
        # The photo itself, and any copy of it, is not there to be found.
        distances[digests[block][:, None] == digests[None, :]] = np.inf
        best = _per_identity(distances, owners[rows], len(people))
        own = np.take_along_axis(best, owners[rows[block]][:, None], axis=1)
        closer = np.sum(best < own, axis=1) + 1
        ranks[rows[block]] = np.where(np.isfinite(own[:, 0]), closer, 0)
        nearest[rows[block]] = best.min(axis=1)
    several = np.bincount(owners, minlength=len(people))[owners] > 1
    return _Searched(several, ranks, nearest), (len(people), len(rows))


def _distances(probes: Embeddings, vectors: Embeddings) -> NDArray[np.float64]:
    products = probes.astype(np.float64) @ vectors.astype(np.float64).T
    return np.sqrt(np.maximum(2.0 - 2.0 * products, 0.0))


def _per_identity(
    distances: NDArray[np.float64], owners: NDArray[np.int64], people: int
) -> NDArray[np.float64]:
    """float64[m, people]: the nearest template of each person; infinite without one."""
    best = np.full((len(distances), people), np.inf)
    order = np.argsort(owners, kind="stable")
    present, starts = np.unique(owners[order], return_index=True)
    best[:, present] = np.minimum.reduceat(distances[:, order], starts, axis=1)
    return best


def _figures(searched: _Searched, ks: Sequence[int], threshold: float | None) -> dict[str, Any]:
    mated = searched.mated
    ranks, nearest = searched.ranks[mated], searched.nearest[mated]
    strangers = searched.nearest[~mated]
    return {
        "mated": len(ranks),
        "non_mated": len(strangers),
        "rank": rank_k(ranks, ks) if len(ranks) else {},
        "threshold": threshold,
        "tpir": _at(threshold, len(ranks), partial(tpir, ranks, nearest)),
        "fpir": _at(threshold, len(strangers), partial(fpir, strangers)),
    }


def _at(threshold: float | None, probes: int, figure: Callable[[float], float]) -> float | None:
    return None if threshold is None or not probes else figure(threshold)


def _with_faces(probes: list[Encoded]) -> NDArray[np.int64]:
    return np.array([n for n, probe in enumerate(probes) if probe.faces], dtype=np.int64)


def _embeddings(probes: list[Encoded], dim: int) -> Embeddings:
    rows = [probe.embeddings for probe in probes if probe.faces]
    return np.concatenate(rows) if rows else np.empty((0, dim), dtype=np.float32)
