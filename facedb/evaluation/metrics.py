"""Figures of 1:N identification from ranks and distances. Pure numpy.

Terms and definitions: ISO/IEC 2382-37, and NIST FRTE 1:N for rank, FPIR and FNIR. A probe that
showed no face keeps its place with an infinite distance: it counts as a miss.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def rank_k(ranks: NDArray[np.int64], ks: Sequence[int]) -> dict[int, float]:
    """Share of mated probes whose own identity is among the k nearest (closed set, CMC).

    Args:
        ranks: int64[n], 1 for the nearest identity; 0 where the own identity was not found.
        ks: the ranks wanted.

    Returns:
        k -> share in [0, 1]; NaN without probes.

    >>> rank_k(np.array([1, 1, 2, 0]), [1, 5])
    {1: 0.5, 5: 0.75}
    """
    found = ranks > 0
    return {k: _share(found & (ranks <= k)) for k in ks}


def tpir(ranks: NDArray[np.int64], distances: NDArray[np.float64], threshold: float) -> float:
    """Share of mated probes that are identified: own identity first, and accepted (1 - FNIR).

    Args:
        ranks: as in `rank_k`.
        distances: float64[n] to the nearest identity, in [0, 2] or infinite.
        threshold: the largest distance that accepts.

    >>> tpir(np.array([1, 1, 2]), np.array([0.5, 1.2, 0.4]), 1.0)
    0.3333333333333333
    """
    return _share((ranks == 1) & (distances <= threshold))


def fpir(distances: NDArray[np.float64], threshold: float) -> float:
    """Share of non-mated probes that are accepted as anybody.

    Args:
        distances: float64[n], each to the nearest identity of the whole gallery.
        threshold: the largest distance that accepts.

    >>> fpir(np.array([0.9, 1.1, 1.3, 1.2]), 1.0)
    0.25
    """
    return _share(distances <= threshold)


def fnir(
    ranks: NDArray[np.int64], own: NDArray[np.float64], threshold: float, within: int = 1
) -> float:
    """FNIR(N, R, T): share of mated probes not found among the R nearest within T (NIST FRTE 1:N).

    The miss rate of a search: the own identity is missing, is ranked below R, or lies beyond T.
    1 - FNIR is the TPIR, also called DIR.

    Args:
        ranks: int64[n], as in `rank_k`.
        own: float64[n], each probe's distance to its own identity; infinite without a face.
        threshold: T, the largest distance that accepts.
        within: R, 1 or more.

    >>> fnir(np.array([1, 2, 3, 1]), np.array([0.5, 0.6, 0.7, 1.4]), 1.0, within=2)
    0.5
    """
    return 1.0 - _share((ranks > 0) & (ranks <= within) & (own <= threshold))


def dir_at_fpir(
    ranks: NDArray[np.int64],
    own: NDArray[np.float64],
    strangers: NDArray[np.float64],
    fpir_wanted: float,
) -> float:
    """Detection and identification rate, 1 - FNIR(N, 1, T), at `threshold_at` the FPIR wanted.

    Phillips, Grother and Micheals, Handbook of Face Recognition, 2011, chapter 21.

    Args:
        ranks, own: int64[n] and float64[n] of the mated probes, as in `fnir`.
        strangers: float64[m], each non-mated probe's distance to the nearest identity.
        fpir_wanted: in [0, 1).

    Returns:
        In [0, 1]; NaN without probes of both kinds.

    >>> dir_at_fpir(np.array([1, 1]), np.array([0.7, 1.0]), np.array([0.9, 1.1]), 0.5)
    0.5
    """
    if not strangers.size or not ranks.size:
        return float("nan")
    return 1.0 - fnir(ranks, own, threshold_at(strangers, fpir_wanted))


def threshold_at(distances: NDArray[np.float64], fpir_wanted: float) -> float:
    """The largest observed distance at which at most `fpir_wanted` of strangers are accepted.

    Args:
        distances: float64[n], each non-mated probe's to the nearest identity of the gallery.
        fpir_wanted: in [0, 1).

    Returns:
        One of `distances`; just below the smallest where even that would accept too many.

    >>> threshold_at(np.array([0.9, 1.0, 1.1, 1.2]), 0.5)
    1.0
    """
    ordered = np.sort(distances)
    accepted = np.searchsorted(ordered, ordered, side="right")
    # 0.29 * 100 is 28.999999999999996: a rate that divides the number exactly allows it whole.
    allowed = ordered[accepted <= fpir_wanted * len(ordered) + 1e-9]
    return float(allowed[-1]) if len(allowed) else float(np.nextafter(ordered[0], -np.inf))


def auc(distances: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    """Chance that a mated pair lies closer than a non-mated one; ties count half.

    The area under the ROC curve as the Mann-Whitney statistic (Hanley and McNeil, Radiology 143,
    1982).

    Args:
        distances: float64[n], smaller is closer; infinite for a pair without two faces.
        same: bool[n], whether a pair is of one person.

    Returns:
        In [0, 1], 0.5 by chance; NaN without pairs of both kinds.

    >>> auc(np.array([0.4, 0.9, 0.8, 1.2]), np.array([True, True, False, False]))
    0.75
    """
    mated, others = distances[same], np.sort(distances[~same])
    if not mated.size or not others.size:
        return float("nan")
    farther = len(others) - np.searchsorted(others, mated, side="right")
    tied = len(others) - np.searchsorted(others, mated, side="left") - farther
    return float(np.mean(farther + tied / 2) / len(others))


def eer(distances: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    """Equal error rate: the error where FMR and FNMR meet (ISO/IEC 19795-1).

    Both are staircases, which seldom meet: this is their mean at the observed distance where they
    differ least, the smaller such distance on ties. Nothing is interpolated.

    Args:
        distances, same: as in `auc`.

    Returns:
        In [0, 1]; NaN without pairs of both kinds.

    >>> eer(np.array([0.4, 0.9, 0.8, 1.2]), np.array([True, True, False, False]))
    0.5
    """
    mated, others = np.sort(distances[same]), np.sort(distances[~same])
    if not mated.size or not others.size:
        return float("nan")
    thresholds = np.unique(distances)
    missed = 1.0 - np.searchsorted(mated, thresholds, side="right") / len(mated)
    matched = np.searchsorted(others, thresholds, side="right") / len(others)
    best = int(np.argmin(np.abs(missed - matched)))
    return float((missed[best] + matched[best]) / 2)


def tmr_at_fmr(distances: NDArray[np.float64], same: NDArray[np.bool_], fmr: float) -> float:
    """True match rate (1 - FNMR) at the loosest threshold whose false match rate is at most `fmr`.

    ISO/IEC 19795-1; papers write TAR@FAR. The threshold lies just below the first non-mated
    distance that would be one false match too many; nothing is interpolated.

    Args:
        distances, same: as in `auc`.
        fmr: the share of non-mated pairs that may be accepted, in [0, 1].

    Returns:
        In [0, 1]; NaN without pairs of both kinds.

    >>> tmr_at_fmr(np.array([0.4, 0.9, 0.8, 1.2]), np.array([True, True, False, False]), 0.0)
    0.5
    """
    mated, others = distances[same], np.sort(distances[~same])
    if not mated.size or not others.size:
        return float("nan")
    allowed = int(fmr * len(others) + 1e-9)
    limit = others[allowed] if allowed < len(others) else np.inf
    return _share(mated < limit)


def ten_fold_accuracy(
    distances: NDArray[np.float64], same: NDArray[np.bool_], folds: int = 10
) -> NDArray[np.float64]:
    """Pair accuracy by fold, each at the threshold that is best on the others (LFW, View 2).

    Huang et al., Labeled Faces in the Wild, UMass Amherst TR 07-49, 2007.

    Args:
        distances: float64[n], pairs in the order of the folds, n divisible by `folds`.
        same: bool[n], whether a pair is of one person.

    Returns:
        float64[folds] in [0, 1].
    """
    near, truth = distances.reshape(folds, -1), same.reshape(folds, -1)
    accuracy = np.empty(folds)
    for fold in range(folds):
        others = np.arange(folds) != fold
        threshold = _best_threshold(near[others].ravel(), truth[others].ravel())
        accuracy[fold] = np.mean((near[fold] <= threshold) == truth[fold])
    return accuracy


def _best_threshold(distances: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    order = np.argsort(distances, kind="stable")
    # Accepting the first n of the ordered pairs is right for their mated and the others' non-mated.
    right = np.cumsum(np.where(same[order], 1, -1))
    return float(distances[order[int(np.argmax(right))]])


def macro_f1(truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Mean over all labels, true or predicted, of the F1 score 2 TP / (2 TP + FP + FN).

    Every person counts the same, however many photos they have. "Nobody", -1, is a label only where
    it is true, of strangers: a person who was taken for nobody was missed, and that is all.

    Args:
        truth, predicted: int64[n] labels.

    Returns:
        In [0, 1]; NaN without probes.

    >>> macro_f1(np.array([0, 0, 1, -1]), np.array([0, 1, 1, -1]))
    0.7777777777777777
    """
    if not truth.size:
        return float("nan")
    labels, codes = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
    true, guessed = codes[: len(truth)], codes[len(truth) :]
    right = np.bincount(true[true == guessed], minlength=len(labels))
    named = np.bincount(true, minlength=len(labels)) + np.bincount(guessed, minlength=len(labels))
    counted = (labels != -1) | (truth == -1).any()
    return float(np.mean(2 * right[counted] / named[counted]))


def _share(hits: NDArray[np.bool_]) -> float:
    return float(np.mean(hits)) if hits.size else float("nan")
