"""The neighbour sheet: probes, whom the encoder takes them for, and how near."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from numpy.typing import NDArray
from PIL import Image

from facedb.errors import PhotoError
from facedb.photos import load_photo
from facedb.training.data import CLEAN
from facedb.training.figures import INK, RIGHT, WRONG, drawing, short
from facedb.training.geometry import Embedded, Neighbours, choose_probes, nearest

_TILE, _DPI = 160, 110  # a tile of 160 pixels is about 1.45 inches wide


def neighbour_sheet(
    embedded: Embedded,
    file: Path,
    cross_photo: bool = True,
    count: int = 8,
    seed: int = 0,
    note: str = "",
) -> None:
    """Probes and the five clean pictures nearest to each; half of the probes the worst mistakes.

    Args:
        embedded: the pictures; their files are read now, and a grey square stands for a file that
            cannot be read.
        file: the PNG.
        cross_photo: the probe's own photo is no neighbour.
        count: how many probes.
        seed: decides which, besides the mistakes.
        note: stands above everything.
    """
    found = nearest(embedded, 5, cross_photo)
    mistakes, others = choose_probes(embedded.labels, found, count, seed)
    halves = {"The worst mistakes: somebody else is nearest, and near": mistakes}
    halves |= {"Drawn at random from the other probes": others}
    halves = {title: chosen for title, chosen in halves.items() if chosen}
    rows = [len(chosen) + 0.17 for chosen in halves.values()] or [0.3]
    with drawing(file, 1.95 * sum(rows) + 0.1, note, _DPI) as figure:
        if not halves:
            figure.text(0.01, 0.3, "no person has two photos, so that nobody can be found")
            return
        parts = figure.subfigures(len(halves), 1, height_ratios=rows, squeeze=False)[:, 0]
        for part, (title, chosen) in zip(parts, halves.items(), strict=True):
            part.suptitle(title, x=0.01, ha="left", fontsize=11)
            _neighbour_rows(part, embedded, found, chosen)


def _neighbour_rows(
    part: SubFigure, embedded: Embedded, found: Neighbours, chosen: Sequence[int]
) -> None:
    grid = part.subplots(
        len(chosen), 1 + found.rows.shape[1], squeeze=False, gridspec_kw={"wspace": 0.06}
    )
    for line, probe in zip(grid, chosen, strict=True):
        _tile(line[0], embedded, probe, "probe", INK)
        for axes, row, distance in zip(
            line[1:], found.rows[probe].tolist(), found.distances[probe], strict=True
        ):
            if row < 0:
                axes.set_axis_off()
                continue
            right = embedded.labels[row] == embedded.labels[probe]
            mark, colour = ("✓", RIGHT) if right else ("✗", WRONG)
            _tile(axes, embedded, row, f"{mark} {distance:.2f}", colour)


def _tile(axes: Axes, embedded: Embedded, row: int, words: str, colour: str) -> None:
    axes.imshow(_picture(embedded.paths[row]))
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color=colour, linewidth=1 if colour == INK else 3.5)
    name = short(embedded.names[int(embedded.labels[row])], 17)
    words += f" · {kind}" if (kind := embedded.kinds[row]) != CLEAN else ""
    axes.set_xlabel(f"{words}\n{name}", color=INK, fontsize=8.5)


def _picture(path: str) -> NDArray[np.uint8]:
    """A square from the middle of a photo, small; grey when it cannot be read."""
    try:
        pixels = load_photo(path, _TILE).pixels
    except PhotoError:
        return np.full((_TILE, _TILE, 3), 233, np.uint8)
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    image = Image.fromarray(pixels).resize((_TILE, _TILE), Image.Resampling.LANCZOS, box)
    return np.asarray(image)
