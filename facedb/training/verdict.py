"""Whether training made an encoder better than the one that it began from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from facedb.training.validation import LESS_IS_BETTER, Metrics

PEOPLE: Final = 20
"""How many people with two photos, at least, must be asked for words."""
FIGURES: Final = {
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
        worse, better: names of figures that differ when shown as percentages of two digits.
        words: the same as a sentence, or why these photos cannot tell.
    """

    worse: tuple[str, ...] = ()
    better: tuple[str, ...] = ()
    words: str = ""


def judge(before: Metrics, after: Metrics, people: int, begin: str, *, seen: bool) -> Verdict:
    """Compare the figures of an encoder with those of `begin`, on the same photos.

    Args:
        before, after: the figures.
        people: how many people the photos show by two different ones, or more.
        begin: what names the encoder begun from.
        seen: whether people among them were trained on.
    """
    gains = {name: _gain(name, before[name], after[name]) for name in FIGURES}
    worse = tuple(name for name, gain in gains.items() if gain < 0)
    better = tuple(name for name, gain in gains.items() if gain > 0)
    words = _words(worse, better, begin)
    if people < PEOPLE:
        words = (
            "Too few people to tell whether it is better than before: "
            f"{people} by two photos or more; name {PEOPLE} with --val."
        )
    elif seen:
        words += (
            " Of people whom it was trained on: of others it may be worse; name some with --val."
        )
    return Verdict(worse, better, words)


def _gain(name: str, before: float | None, after: float | None) -> float:
    if before is None or after is None:
        return 0.0
    gain = round(after, 4) - round(before, 4)
    return -gain if name in LESS_IS_BETTER else gain


def _words(worse: tuple[str, ...], better: tuple[str, ...], begin: str) -> str:
    parts = [
        f"{word} than before, across photos, by {', '.join(FIGURES[name] for name in names)}."
        for word, names in (("WORSE", worse), ("Better", better))
        if names
    ]
    if worse and not better:
        parts.append(f"Keep --encoder {begin}.")
    return " ".join(parts) or "Neither better nor worse than before, across photos."
