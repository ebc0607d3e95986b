"""Figures of a training run: arrays in, one PNG out. What they count is in geometry.py.

All look alike by STYLE, are drawn to be read at 880 pixels of width, and never tell two things
apart by colour alone. The colours are those of Okabe and Ito (Color Universal Design, 2008).
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from facedb.training.geometry import Distances, outliers
from facedb.types import Embeddings

Columns = Mapping[str, NDArray[np.float64]]
"""A table: name -> float64[rows], NaN for an empty cell."""

SAME, DIFFERENT = "#0072b2", "#d55e00"
RIGHT, WRONG = "#009e73", "#d55e00"
PALE, LINE, INK = "#7a828c", "#c9cdd2", "#1d2126"
_PEOPLE: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MARKERS: Final = ("o", "s", "^")
STYLE: Final[Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelcolor": PALE,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#eceef0",
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
WIDTH: Final = 9.6
DPI: Final = 160
_NAMED: Final = 20
_MOST_POINTS: Final = 4000


@contextmanager
def drawing(file: Path, height: float, note: str = "", dpi: int = DPI) -> Iterator[Figure]:
    """An empty figure, WIDTH x height inches; it is `file`, a PNG, when the block ends well.

    The note, if there is one, stands above everything.
    """
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # A name in a script that the font does not have is drawn as boxes, and nothing is lost.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        if note:
            figure.suptitle(note, x=0.01, ha="left", fontsize=11, fontweight="bold")
        yield figure
        figure.savefig(file, dpi=dpi, format="png", metadata={"Software": None})


def distance_box_plot(
    sets: Mapping[str, Distances], file: Path, threshold: float = 0.5, note: str = ""
) -> None:
    """Boxes of the distances of pairs, same against different, a panel for each title of `sets`.

    Boxes span the quartiles, whiskers reach 1.5 times as far; what lies beyond is counted.
    """
    with drawing(file, 4.8, note) as figure:
        panels = figure.subplots(1, len(sets), sharey=True, squeeze=False)[0]
        for axes, (title, pairs) in zip(panels, sets.items(), strict=True):
            box_panel(axes, title, pairs, threshold)
        panels[0].set_ylabel("distance")


def box_panel(axes: Axes, title: str, pairs: Distances, threshold: float) -> None:
    """The two boxes of one set of pairs, with the threshold as a line."""
    many = [outliers(distances) for distances in pairs]
    axes.axhline(threshold, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    boxes(axes, pairs.same, [1.0], SAME)
    boxes(axes, pairs.different, [2.0], DIFFERENT)
    labels = [
        f"{who}\nn = {len(distances):,}, {_share(distances < threshold)} below {threshold:g}"
        for who, distances in zip(("same person", "different people"), pairs, strict=True)
    ]
    axes.set_xticks([1, 2], labels)
    axes.set_xlim(0.4, 2.6)
    axes.set_ylim(-0.05, 2.05)
    axes.tick_params(length=0)
    axes.set_title(f"{title}\noutliers: {many[0]} same, {many[1]} different")


def boxes(
    axes: Axes, distances: NDArray[np.float64], at: Sequence[float], colour: str, wide: float = 0.5
) -> None:
    """One box at each place, outliers as dots; nothing where there are no distances."""
    if not len(distances):
        axes.text(at[0], 1.0, "no such pairs", color=PALE, ha="center")
        return
    drawn = axes.boxplot(
        distances,
        positions=at,
        widths=wide,
        patch_artist=True,
        manage_ticks=False,
        boxprops={"facecolor": f"{colour}2e", "edgecolor": colour},
        medianprops={"color": colour, "linewidth": 2.4},
        flierprops={"marker": "o", "markersize": 3, "markeredgewidth": 0, "alpha": 0.55},
    )
    for part in (*drawn["whiskers"], *drawn["caps"]):
        part.set_color(colour)
    for part in drawn["fliers"]:
        part.set_markerfacecolor(colour)


def tsne(
    embeddings: Embeddings,
    labels: NDArray[np.int64],
    names: Sequence[str],
    file: Path,
    seed: int = 0,
    note: str = "",
) -> None:
    """The embeddings in the plane: the 20 people with most pictures named, the others grey.

    van der Maaten and Hinton, Visualizing Data using t-SNE, JMLR 9, 2008. The silhouette in the
    title (Rousseeuw 1987) is that of the embeddings themselves, in [-1, 1]. Of more than 4,000
    pictures, as many are drawn at random.
    """
    with drawing(file, 6.4, note) as figure:
        axes = figure.subplots()
        tsne_panel(axes, embeddings, labels, seed, names)
        if axes.collections:
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9, handletextpad=0.2)


def tsne_panel(
    axes: Axes,
    embeddings: Embeddings,
    labels: NDArray[np.int64],
    seed: int,
    names: Sequence[str] | None = None,
) -> None:
    """The plane alone; named points carry their names for a legend, if `names` are given."""
    if len(labels) > _MOST_POINTS:
        some = np.random.default_rng(seed).permutation(len(labels))[:_MOST_POINTS]
        embeddings, labels = embeddings[some], labels[some]
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    people = len(np.unique(labels))
    axes.set_title(
        f"t-SNE of {len(labels):,} pictures of {people:,} people\n"
        f"silhouette of the embeddings: {_silhouette(embeddings, labels)}"
    )
    if len(labels) < 4:
        axes.text(0.5, 0.5, "too few pictures to draw", color=PALE, ha="center")
        return
    plane = _plane(embeddings, seed)
    most = _most_pictured(labels)
    others = ~np.isin(labels, most)
    axes.scatter(plane[others, 0], plane[others, 1], s=7, color=LINE, linewidths=0)
    for n, person in enumerate(most):
        axes.scatter(
            plane[labels == person, 0],
            plane[labels == person, 1],
            s=22,
            color=_PEOPLE[n % len(_PEOPLE)],
            marker=_MARKERS[n // len(_PEOPLE)],
            linewidths=0,
            alpha=0.85,
            label=short(names[person], 24) if names is not None else None,
        )


def _plane(embeddings: Embeddings, seed: int) -> NDArray[np.float32]:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    perplexity = min(30.0, (len(embeddings) - 1) / 3)
    method = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
    # Its threads wait for each other at every step, which takes minutes on a busy machine.
    with threadpool_limits(1):
        plane: NDArray[np.float32] = method.fit_transform(embeddings.astype(np.float32))
    return plane


def _silhouette(embeddings: Embeddings, labels: NDArray[np.int64]) -> str:
    from sklearn.metrics import silhouette_score

    if not 1 < len(np.unique(labels)) < len(labels):
        return "not defined"
    return f"{silhouette_score(embeddings, labels):.2f}".replace("-", "\N{MINUS SIGN}")


def _most_pictured(labels: NDArray[np.int64]) -> list[int]:
    people, counts = np.unique(labels, return_counts=True)
    return [int(person) for person in people[np.argsort(-counts, kind="stable")][:_NAMED]]


def training_curves(log: Columns, steps: Columns, file: Path, note: str = "") -> None:
    """Loss, learning rate, what validation said, and the share of time spent waiting for data.

    Args:
        log: a row an epoch: epoch, steps, loss, learning_rate, waiting, pair_accuracy,
            cross_photo_rank1.
        steps: a row a step: step, loss, learning_rate.
        file: the PNG.
        note: stands above everything.
    """
    with drawing(file, 6.2, note) as figure:
        (loss, rate), (validation, waiting) = figure.subplots(2, 2)
        loss.plot(steps["step"], steps["loss"], color=LINE, linewidth=0.8, label="step")
        loss.plot(log["steps"], log["loss"], "o-", color=SAME, label="mean of the epoch")
        loss.set_title("Loss")
        loss.legend()
        rate.plot(steps["step"], steps["learning_rate"], color=SAME)
        rate.set_title("Learning rate")
        rate.yaxis.set_major_formatter("{x:g}")
        for column, words, colour, marker in (
            ("pair_accuracy", "pair accuracy, as published", DIFFERENT, "s-"),
            ("cross_photo_rank1", "rank-1 across photos", SAME, "o-"),
        ):
            validation.plot(log["epoch"], log[column], marker, color=colour, label=words)
        validation.set_title("Validation")
        validation.legend()
        waiting.bar(log["epoch"], log["waiting"], width=0.7, color=PALE)
        waiting.set_title("Share of time waiting for data")
        _axes_of_curves((loss, rate), (validation, waiting))


def search_history(
    values: NDArray[np.float64], pruned: NDArray[np.bool_], name: str, file: Path
) -> None:
    """What each trial of a search reached, and the best so far.

    Args:
        values: float64[n] by trial, more is better; NaN for a trial that failed.
        pruned: bool[n], trials that were ended early; they are never the best.
        name: of what was measured, a share.
        file: the PNG.
    """
    trials = np.arange(1, len(values) + 1)
    best = np.fmax.accumulate(np.where(pruned, np.nan, values))
    with drawing(file, 4.2) as figure:
        axes = figure.subplots()
        axes.step(trials, best, where="post", color=SAME, label="best so far")
        axes.plot(trials[~pruned], values[~pruned], "o", color=INK, markersize=5, label="trial")
        if pruned.any():
            axes.plot(trials[pruned], values[pruned], "x", color=DIFFERENT, label="ended early")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set(xlabel="trial", title=f"{name} by trial")
        axes.legend()


def parallel_coordinates(columns: Columns, logarithmic: Collection[str], file: Path) -> None:
    """A line a trial across an axis a parameter; the best trial is thick.

    Args:
        columns: parameter -> float64[n]; the last is what was measured, more is better.
        logarithmic: the parameters on a logarithmic axis.
        file: the PNG.
    """
    heights = {
        name: _height(np.log10(column) if name in logarithmic else column)
        for name, column in columns.items()
    }
    lines = np.column_stack(list(heights.values()))
    reached = list(columns.values())[-1]
    with drawing(file, 4.6) as figure:
        axes = figure.subplots()
        axes.set(xlim=(-0.2, len(columns) - 0.5), ylim=(-0.06, 1.06), yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_xticks(range(len(columns)), [name.replace("_", " ") for name in columns])
        axes.tick_params(length=0, pad=10)
        colours = matplotlib.colormaps["cividis_r"](_height(reached))
        for n in np.argsort(reached):
            axes.plot(lines[n], color=colours[n], linewidth=1.4, alpha=0.85)
        axes.plot(lines[np.argmax(reached)], color=DIFFERENT, linewidth=3.2, label="best")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1))
        axes.set_title("A line a trial, the darker the better")
        for at, (name, column) in enumerate(columns.items()):
            _upright_axis(axes, at, heights[name], column)


def _height(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scaled to [0, 1], or 0.5 where all are the same."""
    low, high = column.min(), column.max()
    return np.full(len(column), 0.5) if low == high else (column - low) / (high - low)


def _upright_axis(
    axes: Axes, at: int, heights: NDArray[np.float64], column: NDArray[np.float64]
) -> None:
    """One axis, with its values where they are few, else the ends."""
    axes.axvline(at, color=LINE, linewidth=1, zorder=0)
    values, first = np.unique(column, return_index=True)
    shown = range(len(values)) if len(values) <= 6 else (0, len(values) - 1)
    for n in shown:
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
        place = (at + 0.03, heights[first[n]])
        axes.text(*place, f"{values[n]:.3g}", va="center", fontsize=9, bbox=box)


def _axes_of_curves(by_step: Sequence[Axes], by_epoch: Sequence[Axes]) -> None:
    for axes in by_step:
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
    for axes in by_epoch:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylim(0, 1)


def _share(hits: NDArray[np.bool_]) -> str:
    return f"{100 * hits.mean():.1f} %" if len(hits) else "none"


def short(name: str, most: int) -> str:
    """A name that fits, without what a legend would take for a sign to leave it out."""
    words = " ".join(name.replace("_", " ").split())
    return words if len(words) <= most else words[: most - 1].rstrip() + "…"
