"""Free-response ROC (Bunch et al., 1978): faces found against false faces, over every threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facedb.detections import SAME, overlaps
from facedb.types import Face, Photo

RATES = (1, 5, 20)
"""False faces on 100 photos without faces."""

LEAST = 0.05
"""The score down to which detectors are asked."""

Look = Callable[[Photo], list[Face]]
Scores = NDArray[np.float64]


def scores_at(wanted: Sequence[Face], found: Sequence[Face]) -> list[float]:
    """For each wanted face the highest score that finds it, 0 where none does."""
    boxes = np.array([face.box for face in found]).reshape(-1, 4)
    scores = np.array([face.score for face in found])
    return [
        float(scores.max(where=overlaps(np.array(face.box), boxes) >= SAME, initial=0.0))
        for face in wanted
    ]


def false_scores(kinds: dict[str, list[Photo]], look: Look) -> dict[str, tuple[int, Scores]]:
    """The number of photos, and the scores of what is found on them, highest first."""
    return {
        kind: (len(photos), np.sort([face.score for photo in photos for face in look(photo)])[::-1])
        for kind, photos in kinds.items()
    }


def threshold_at(false: dict[str, tuple[int, Scores]], rate: float) -> float:
    """The score above which no kind has more false faces on 100 photos than `rate`."""
    return max(
        float(scores[most]) if (most := int(rate * photos / 100)) < len(scores) else LEAST
        for photos, scores in false.values()
    )


def at_rates(
    found: dict[str, list[float]], false: dict[str, tuple[int, Scores]]
) -> list[dict[str, Any]]:
    """Rows: the false faces allowed, the score above which they are kept, the share found."""
    rows: list[dict[str, Any]] = []
    for rate in RATES:
        threshold = threshold_at(false, rate)
        shares = {
            name: round(float(np.mean(np.array(s) > threshold)), 4) for name, s in found.items()
        }
        rows.append({"false_per_100": rate, "threshold": round(threshold, 3)} | shares)
    return rows


def draw(
    found: dict[str, dict[str, list[float]]],
    false: dict[str, dict[str, tuple[int, Scores]]],
    file: Path,
) -> None:
    """A curve for each detector on each set of photos; the first detector's are solid."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    rates = np.geomspace(0.25, 50, 60)
    for style, (detector, sets) in zip("-:", found.items(), strict=True):
        thresholds = [threshold_at(false[detector], rate) for rate in rates]
        for colour, (name, scores) in enumerate(sets.items()):
            shares = [100 * np.mean(np.array(scores) > threshold) for threshold in thresholds]
            axis.plot(rates, shares, style, color=f"C{colour}", lw=2, label=f"{detector}, {name}")
    axis.set(
        xscale="log", xlabel="false faces on 100 photos without any", ylabel="found of YuNet's, %"
    )
    axis.set_xticks([0.5, 1, 2, 5, 10, 20, 50], ["0.5", "1", "2", "5", "10", "20", "50"])
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.savefig(file, dpi=110)
