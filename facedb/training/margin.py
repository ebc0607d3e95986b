"""The margin study: what the contrastive loss's margin does to the distances, and why.

Two random unit vectors of many numbers lie near sqrt(2) = 1.41 from each other, and n unit vectors
cannot all be farther apart: the mean of their squared distances is at most 2 n / (n - 1). A margin
beyond 1.41 asks for what not all pairs of people can have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.ticker import PercentFormatter

from facedb.errors import InputError
from facedb.training.figures import (
    DIFFERENT,
    INK,
    LINE,
    PALE,
    SAME,
    box_panel,
    boxes,
    drawing,
    tsne_panel,
)
from facedb.training.geometry import (
    Distances,
    Embedded,
    best_accuracy,
    outliers,
    pair_accuracy,
    pair_auc,
    sphere_density,
    validation_pairs,
)

RANDOM_DISTANCE: Final = math.sqrt(2)


def margin_pairs(
    runs: Mapping[float, Embedded], cross_photo: bool, seed: int = 0
) -> dict[float, Distances]:
    """The distances of 1,000 pairs, or all there are, of each run, in the order of the margins.

    The same pairs of pictures, as long as all runs embedded the same pictures in one order.
    """
    return {
        margin: validation_pairs(
            runs[margin].embeddings,
            runs[margin].labels,
            runs[margin].photos,
            seed=seed,
            cross_photo=cross_photo,
        )
        for margin in sorted(runs)
    }


def margin_table(runs: Mapping[float, Embedded], seed: int = 0) -> list[dict[str, float | None]]:
    """A row a margin: what the figure shows as numbers, on 1,000 pairs that cross photos.

    margin, pair_accuracy at distances below 0.5, best_accuracy at the threshold best for these
    pairs, auc, the medians of both kinds of distances, and outliers of both kinds; None where
    there are no such pairs.
    """
    return [_row(margin, pairs) for margin, pairs in margin_pairs(runs, True, seed).items()]


def _row(margin: float, pairs: Distances) -> dict[str, float | None]:
    values = {
        "margin": margin,
        "pair_accuracy": pair_accuracy(pairs, 0.5),
        "best_accuracy": best_accuracy(pairs),
        "auc": pair_auc(pairs),
        "same_median": _median(pairs.same),
        "different_median": _median(pairs.different),
        "same_outliers": outliers(pairs.same),
        "different_outliers": outliers(pairs.different),
    }
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def margin_study(
    runs: Mapping[float, Embedded],
    file: Path,
    compared: tuple[float, float] = (1.0, 2.0),
    seed: int = 0,
) -> None:
    """One PNG: two margins side by side, then all of them, with the geometry of the sphere.

    Args:
        runs: margin -> validation pictures as the encoder trained with it sees them.
        file: the PNG.
        compared: the two margins whose t-SNE and boxes are shown.
        seed: decides the pairs and the t-SNE.

    Raises:
        InputError: one of the two margins was not run.
    """
    for margin in compared:
        if margin not in runs:
            raise InputError(f"{file}: there is no run with margin {margin:g}; train it first")
    crossing = margin_pairs(runs, True, seed)
    with drawing(file, 15.5) as figure:
        parts = figure.subfigures(3, 1, height_ratios=[8.8, 4.4, 3.2], squeeze=False)[:, 0]
        _side_by_side(parts[0], runs, crossing, compared, seed)
        _distances_by_margin(parts[1], crossing, runs[compared[0]].embeddings.shape[1])
        _figures_by_margin(parts[2], runs, seed)


def _side_by_side(
    part: SubFigure,
    runs: Mapping[float, Embedded],
    pairs: Mapping[float, Distances],
    compared: tuple[float, float],
    seed: int,
) -> None:
    planes, distances = part.subplots(2, 2)
    for margin, plane, panel in zip(compared, planes, distances, strict=True):
        tsne_panel(plane, runs[margin].embeddings, runs[margin].labels, seed)
        plane.set_title(f"Margin {float(margin)}: {plane.get_title(loc='left')}")
        box_panel(panel, f"Margin {float(margin)}: pairs across photos", pairs[margin], 0.5)
    distances[0].set_ylabel("distance")


def _distances_by_margin(part: SubFigure, pairs: Mapping[float, Distances], dim: int) -> None:
    axes, beside = part.subplots(1, 2, sharey=True, width_ratios=[5, 1])
    margins = list(pairs)
    step = min(np.diff(margins), default=0.2)
    for margin, (same, different) in pairs.items():
        boxes(axes, same, [margin - step / 6], SAME, step / 4)
        boxes(axes, different, [margin + step / 6], DIFFERENT, step / 4)
    for n, margin in enumerate(margins):
        words = "the margin" if n == 0 else None
        ends = [margin - step / 2.2, margin + step / 2.2]
        axes.plot(ends, [margin, margin], color=INK, linewidth=1.2, label=words)
    axes.plot([], [], "s", color=SAME, label="same person")
    axes.plot([], [], "s", color=DIFFERENT, label="different people")
    axes.axhline(RANDOM_DISTANCE, color=PALE, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xticks(margins, [str(float(margin)) for margin in margins])
    axes.set_xlim(margins[0] - step * 0.6, margins[-1] + step * 0.6)
    axes.set_ylim(-0.05, 2.05)
    axes.set(xlabel="margin", ylabel="distance")
    axes.set_title("Distances by margin, across photos")
    axes.legend(loc="lower right", ncols=3)
    _random_vectors(beside, dim)


def _random_vectors(axes: Axes, dim: int) -> None:
    """The density of random unit vectors' distance, lying on its side by the distance axis."""
    at = np.linspace(0.002, 1.998, 999)
    axes.fill_betweenx(at, sphere_density(at, dim), color=LINE)
    axes.axhline(RANDOM_DISTANCE, color=PALE, linewidth=1, linestyle=(0, (4, 3)))
    axes.text(0, 1.02, f"two random unit\nvectors, d = {dim}:\nnear √2 = 1.41", va="top")
    axes.set(xticks=[])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _figures_by_margin(part: SubFigure, runs: Mapping[float, Embedded], seed: int) -> None:
    worth, beyond = part.subplots(1, 2)
    table = margin_table(runs, seed)
    margins = [row["margin"] for row in table]
    for name, words, style, colour in (
        ("auc", "AUC", "o-", SAME),
        ("best_accuracy", "pair accuracy, best threshold", "^-", "#009e73"),
        ("pair_accuracy", "pair accuracy, distance < 0.5", "s-", DIFFERENT),
    ):
        worth.plot(margins, _column(table, name), style, color=colour, label=words)
    worth.set_title("Across photos, by margin")
    worth.yaxis.set_major_formatter(PercentFormatter(1.0))
    worth.set_ylim(0.45, 1.02)
    for name, words, style, colour in (
        ("same_outliers", "same person", "o-", SAME),
        ("different_outliers", "different people", "s-", DIFFERENT),
    ):
        beyond.plot(margins, _column(table, name), style, color=colour, label=words)
    beyond.set_title("Outliers among these pairs")
    beyond.set_ylim(bottom=0)
    for axes in (worth, beyond):
        axes.set_xlabel("margin")
        axes.legend()


def _column(table: list[dict[str, float | None]], name: str) -> list[float]:
    return [np.nan if row[name] is None else float(row[name] or 0) for row in table]


def _median(distances: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return float(np.median(distances)) if len(distances) else float("nan")
