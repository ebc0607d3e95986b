"""Labeled Faces in the Wild: pairs (View 2), identification, and the open set drawn again.

Huang et al., UMass Amherst TR 07-49, 2007; the open set as in the issue of its protocol: who has
two photos or more is enrolled by the first, everybody with one is a stranger.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facedb.aggregation import Aggregation
from facedb.errors import InputError
from facedb.evaluation.metrics import auc, eer, rank_k, ten_fold_accuracy, tmr_at_fmr
from facedb.evaluation.samples import Samples
from facedb.evaluation.splits import open_set_split, rows_of
from facedb.evaluation.trial import enrolled_from, run_trial

RESPLITS = 10


@dataclass(frozen=True, slots=True)
class PairFigures:
    """6,000 pairs in 10 folds; a pair without two faces counts as different.

    Attributes:
        pairs: how many.
        accuracy: by fold, each at the threshold that is best on the others.
        accuracy_sd, accuracy_se: the standard deviation of the folds, and that of their mean, the
            deviation over the root of their number, as LFW's protocol reports it.
        auc, eer, tmr_at_fmr: over all pairs; TMR at an FMR of 0.1 %.
    """

    pairs: int
    accuracy: tuple[float, ...]
    accuracy_sd: float
    accuracy_se: float
    auc: float
    eer: float
    tmr_at_fmr: float


@dataclass(frozen=True, slots=True)
class IdentificationFigures:
    """Everybody enrolled by the first photo, all other photos probes."""

    identities: int
    probes: int
    rank: dict[int, float]


@dataclass(frozen=True, slots=True)
class OpenSetFigures:
    """The open set with one drawn photo of each person enrolled; `seed` drew it.

    `dir` is FPIR -> DIR, as in `EvaluationReport`.
    """

    seed: int
    identities: int
    mated: int
    non_mated: int
    rank: dict[int, float]
    dir: dict[float, float]


@dataclass(frozen=True, slots=True)
class LfwFigures:
    """What LFW says beside its open set; `pairs` is None where photos of pairs are missing."""

    pairs: PairFigures | None
    identification: IdentificationFigures
    resplits: tuple[OpenSetFigures, ...]


def lfw_figures(samples: Samples, folder: str, aggregation: Aggregation) -> LfwFigures:
    """All further figures of LFW.

    Args:
        samples: every photo, by person, then path.
        folder: holds pairs.txt.
    """
    return LfwFigures(
        pair_figures(samples, os.path.join(folder, "pairs.txt")),
        identification(samples, aggregation),
        tuple(open_set(samples, seed, aggregation) for seed in range(RESPLITS)),
    )


def read_pairs(file: str) -> list[tuple[str, str, bool]]:
    """`Person_0001`, `Person_0002`, whether they are one person; in the order of the folds."""
    pairs = []
    for line in Path(file).read_text(encoding="utf-8").splitlines()[1:]:
        match line.split("\t"):
            case [name, one, other]:
                pairs.append((f"{name}_{int(one):04}", f"{name}_{int(other):04}", True))
            case [left, one, right, other]:
                pairs.append((f"{left}_{int(one):04}", f"{right}_{int(other):04}", False))
            case _:
                raise InputError(f"{file}: not a line of LFW's pairs: {line!r}")
    return pairs


def pair_figures(samples: Samples, file: str) -> PairFigures | None:
    """The figures of View 2; None where a photo of a pair is not there."""
    rows = {os.path.splitext(os.path.basename(p))[0]: row for row, p in enumerate(samples.paths)}
    pairs = read_pairs(file)
    if not all(one in rows and other in rows for one, other, _ in pairs):
        return None
    left = np.array([rows[one] for one, _, _ in pairs])
    right = np.array([rows[other] for _, other, _ in pairs])
    distances = pair_distances(samples, left, right)
    same = np.array([same for _, _, same in pairs])
    folds = ten_fold_accuracy(distances, same)
    deviation = float(np.std(folds, ddof=1))
    return PairFigures(
        len(pairs),
        tuple(folds.tolist()),
        deviation,
        deviation / math.sqrt(len(folds)),
        auc(distances, same),
        eer(distances, same),
        tmr_at_fmr(distances, same, 0.001),
    )


def pair_distances(
    samples: Samples, left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.float64]:
    """float64[n]: between rows of samples; infinite where either shows no face."""
    change = samples.vectors[left].astype(np.float64) - samples.vectors[right]
    distances = np.sqrt(np.einsum("nd,nd->n", change, change))
    return np.where(samples.shown[left] & samples.shown[right], distances, np.inf)


def identification(samples: Samples, aggregation: Aggregation) -> IdentificationFigures:
    """Rank-k with everybody enrolled by the first photo."""
    first = np.zeros(len(samples), dtype=np.bool_)
    first[np.unique(samples.names, return_index=True)[1]] = True
    trial = run_trial(enrolled_from(samples.take(first)), samples.take(~first), aggregation)
    ranks = trial.outcome.ranks
    return IdentificationFigures(
        int(first.sum()), len(ranks), rank_k(ranks, [1, 5, 10]) if len(ranks) else {}
    )


def open_set(samples: Samples, seed: int, aggregation: Aggregation) -> OpenSetFigures:
    """The open set of one draw."""
    split = open_set_split(samples, seed)
    enrolled = enrolled_from(samples.take(rows_of(samples, split.gallery)))
    probes = samples.take(rows_of(samples, (*split.mated, *split.strangers)))
    trial = run_trial(enrolled, probes, aggregation)
    return OpenSetFigures(
        seed,
        len(enrolled.names),
        len(split.mated),
        len(split.strangers),
        rank_k(trial.outcome.ranks[trial.mated], [1, 5, 10]),
        {fpir: trial.dir_at(fpir) for fpir in trial.measurable},
    )
