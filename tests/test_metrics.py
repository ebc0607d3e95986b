"""Metrics against numbers worked out by hand."""

from __future__ import annotations

import doctest
from types import ModuleType

import numpy as np
import pytest

from facedb.evaluation import curves, intervals, metrics


@pytest.mark.parametrize(("module", "least"), [(metrics, 10), (curves, 5), (intervals, 2)])
def test_doctests(module: ModuleType, least: int) -> None:
    found = doctest.testmod(module, extraglobs={"np": np})
    assert found.failed == 0
    assert found.attempted >= least


def test_rank_k_by_hand() -> None:
    ranks = np.array([1, 3, 0, 2, 1, 11])
    expected = {1: 2 / 6, 2: 3 / 6, 5: 4 / 6, 10: 4 / 6, 20: 5 / 6}
    assert metrics.rank_k(ranks, [1, 2, 5, 10, 20]) == pytest.approx(expected)
    assert np.isnan(metrics.rank_k(np.array([], dtype=np.int64), [1])[1])


def test_a_mated_probe_must_be_first_and_near() -> None:
    ranks = np.array([1, 1, 2, 0, 0])
    distances = np.array([0.8, 1.2, 0.1, 0.2, np.inf])
    assert metrics.tpir(ranks, distances, 1.0) == pytest.approx(1 / 5)
    assert metrics.tpir(ranks, distances, 1.2) == pytest.approx(2 / 5)


def test_a_stranger_without_a_face_is_turned_away() -> None:
    assert metrics.fpir(np.array([np.inf, 0.5]), 2.0) == 0.5


@pytest.mark.parametrize(
    ("fpir", "expected"),
    [(0.0, 0.2), (0.1, 0.2), (0.2, 0.3), (0.35, 0.3), (0.4, 0.3), (0.6, 0.5), (0.8, 0.7)],
)
def test_threshold_holds_what_it_promises(fpir: float, expected: float) -> None:
    strangers = np.array([0.7, 0.3, 0.5, 0.5, 0.9])
    threshold = metrics.threshold_at(strangers, fpir)
    if fpir < 0.2:
        assert threshold < 0.3
    else:
        assert threshold == expected
    assert metrics.fpir(strangers, threshold) <= fpir


def test_a_rate_that_divides_the_number_allows_it_whole() -> None:
    # 0.29 * 100 is 28.999999999999996.
    assert metrics.threshold_at(np.arange(100.0), 0.29) == 28.0
    distances = np.append(np.arange(100.0), 28.5)
    assert metrics.tmr_at_fmr(distances, distances == 28.5, 0.29) == 1.0


def test_ten_fold_accuracy_uses_the_other_folds() -> None:
    # Ten folds of two pairs: same at 0.4, different at 0.8; the last fold is the other way round.
    distances = np.tile([0.4, 0.8], 10)
    same = np.tile([True, False], 10)
    same[18:] = [False, True]
    assert metrics.ten_fold_accuracy(distances, same).tolist() == [1.0] * 9 + [0.0]
