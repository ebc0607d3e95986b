"""How sure a figure is: bootstrap by person, never narrower than Wilson's interval. Pure numpy.

Photos of one person are right or wrong together, so that people are drawn, not photos. Where few
things happened the draws all look alike: there the number of people says how sure one can be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
_Z = 1.959964  # 95 % of a normal distribution lie within as many standard deviations


class Interval(NamedTuple):
    """Between what a figure lies at 95 % confidence."""

    low: float
    high: float

    def hull(self, other: Interval) -> Interval:
        """The least interval that holds both."""
        return Interval(min(self.low, other.low), max(self.high, other.high))


def wilson(share: float, people: int) -> Interval:
    """The rates that a share of so many people is no surprise for, at 95 %: the score interval.

    Wilson, JASA 22(158), 1927: the p of (share - p)^2 <= z^2 p (1 - p) / n.

    >>> round(wilson(0.0, 300).high, 4)
    0.0126
    """
    weight = _Z**2 / people
    middle = (share + weight / 2) / (1 + weight)
    half = math.sqrt(weight * share * (1 - share) + weight**2 / 4) / (1 + weight)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


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
    """The interval of a share of hits: the hull of the bootstrap by person and Wilson's.

    Args:
        hits: bool[n].
        people: int64[n], who each row is of, in [0, number of people).
        seed: of the draws.

    >>> share_interval(np.ones(300, dtype=bool), np.arange(300)).high
    1.0
    """
    present, codes = np.unique(people, return_inverse=True)
    if not hits.size:
        return Interval(float("nan"), float("nan"))
    right = np.bincount(codes, weights=hits)
    number = np.bincount(codes)
    random = np.random.default_rng(seed)
    draws = random.integers(0, len(present), (resamples, len(present)))
    drawn = _middle(right[draws].sum(axis=1) / number[draws].sum(axis=1))
    return drawn.hull(wilson(float(hits.mean()), len(present)))


def _middle(values: NDArray[np.float64]) -> Interval:
    known = values[np.isfinite(values)]
    if not known.size:
        return Interval(float("nan"), float("nan"))
    low, high = np.percentile(known, [2.5, 97.5])
    return Interval(float(low), float(high))
