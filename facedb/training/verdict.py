"""Whether training made an encoder better than the one that it began from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from facedb.training.validation import LESS_IS_BETTER, Metrics

PEOPLE: Final = 20
"""How many people, at least, are asked before anything is said."""
_FIGURES: Final = {
    "cross_photo_auc": "AUC",
    "cross_photo_eer": "EER",
    "cross_photo_tar_at_far_1e-2": "TAR at FAR 1 %",
    "cross_photo_tar_at_far_1e-3": "TAR at FAR 0.1 %",
    "cross_photo_rank1": "rank-1",
}
"""Across photos, and of no fixed threshold: what a threshold of one's own cannot mend."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the figures that no threshold decides.

    Attributes:
        worse, better: names of figures, in the digits that are shown.
        words: the same as a sentence; of fewer than PEOPLE people, that they cannot tell.
    """

    worse: tuple[str, ...] = ()
    better: tuple[str, ...] = ()
    words: str = ""


def judge(before: Metrics, after: Metrics, people: int, begin: str) -> Verdict:
    """Compare the figures of an encoder with those of `begin`, on the same photos of people."""
    gains = {name: _gain(name, before[name], after[name]) for name in _FIGURES}
    worse = tuple(name for name, gain in gains.items() if gain < 0)
    better = tuple(name for name, gain in gains.items() if gain > 0)
    return Verdict(worse, better, _words(worse, better, people, begin))


def _gain(name: str, before: float | None, after: float | None) -> float:
    if before is None or after is None:
        return 0.0
    return round(before - after if name in LESS_IS_BETTER else after - before, 4)


def _words(worse: tuple[str, ...], better: tuple[str, ...], people: int, begin: str) -> str:
    if people < PEOPLE:
        return (
            f"Too few people to tell whether it is better than before: {people}; name {PEOPLE} or "
            "more with --val."
        )
    parts = [
        f"{word} than before, across photos, by {', '.join(_FIGURES[name] for name in names)}."
        for word, names in (("WORSE", worse), ("Better", better))
        if names
    ]
    if worse and not better:
        parts.append(f"Keep --encoder {begin}.")
    return " ".join(parts) or "Neither better nor worse than before, across photos."
