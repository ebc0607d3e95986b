"""How sure a figure is: bootstrap by person, and the rule of three. Pure numpy.

Photos of one person are right or wrong together, so that people are drawn, not photos.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000


class Interval(NamedTuple):
    """Between what a figure lies at 95 % confidence."""

    low: float
    high: float


def rule_of_three(people: int) -> float:
    """The largest rate, at 95 % confidence, of what never happened to so many people: 3 / n.

    Hanley and Lippman-Hand, JAMA 249(13), 1983: (1 - rate)^n = 0.05.

    >>> rule_of_three(300)
    0.01
    """
    return min(1.0, 3.0 / people) if people > 0 else 1.0


def bootstrap(
    figure: Callable[[NDArray[np.int64]], float],
    people: NDArray[np.int64],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The middle 95 % of a figure over people drawn with replacement (Efron, 1979).

    Args:
        figure: what to compute of rows, int64[m], in which a person drawn twice stands twice.
        people: int64[n], who each row is of, in [0, number of people).
        resamples: how many times to draw.
        seed: of the draws.

    Returns:
        The 2.5th and 97.5th percentile; draws in which the figure is NaN do not count.
    """
    random = np.random.default_rng(seed)
    count = int(people.max(initial=-1)) + 1
    values = np.empty(resamples)
    for turn in range(resamples):
        times = np.bincount(random.integers(0, count, count), minlength=count)
        values[turn] = figure(np.repeat(np.arange(len(people)), times[people]))
    return _middle(values)


def share_interval(
    hits: NDArray[np.bool_], people: NDArray[np.int64], seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """The interval of a share of hits: bootstrap by person, and the rule of three at 0 and 1.

    Args:
        hits: bool[n].
        people: int64[n], who each row is of, in [0, number of people).
        seed: of the draws.

    >>> share_interval(np.zeros(300, dtype=bool), np.arange(300))
    Interval(low=0.0, high=0.01)
    """
    present, codes = np.unique(people, return_inverse=True)
    if not hits.size:
        return Interval(float("nan"), float("nan"))
    if not hits.any():
        return Interval(0.0, rule_of_three(len(present)))
    if hits.all():
        return Interval(1.0 - rule_of_three(len(present)), 1.0)
    right = np.bincount(codes, weights=hits)
    number = np.bincount(codes)
    random = np.random.default_rng(seed)
    draws = random.integers(0, len(present), (resamples, len(present)))
    return _middle(right[draws].sum(axis=1) / number[draws].sum(axis=1))


def _middle(values: NDArray[np.float64]) -> Interval:
    known = values[np.isfinite(values)]
    if not known.size:
        return Interval(float("nan"), float("nan"))
    low, high = np.percentile(known, [2.5, 97.5])
    return Interval(float(low), float(high))
