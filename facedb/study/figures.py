"""The figures of the study, from its JSON. Needs matplotlib."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from facedb.study.blocks import BLOCKS
from facedb.study.data import NAMES
from facedb.study.report import grouped

COLOURS = dict(
    zip(BLOCKS, ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377"), strict=True)
)
LAYERS = (0, 2, 5)  # of the eight attention maps: the finest, the last at 16x16, the last at 8x8


def draw_all(study: dict[str, Any], folder: Path, name: str) -> list[Path]:
    """Write every figure that the study has the data for, and return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"curves": curves(study), "confusion": confusions(study)}
    if any("points" in look for look in study["looks"]):
        figures["tsne"] = planes(study)
    if study["attention"]:
        figures["attention"] = attention(study["attention"])
    files = []
    for kind, figure in figures.items():
        files.append(folder / f"{name}-{kind}.png")
        _save(figure, files[-1])
    return files


def _save(figure: Figure, file: Path) -> None:
    """As a PNG of at most 256 colours, a third of the size."""
    stream = io.BytesIO()
    figure.savefig(stream, dpi=110)
    image = Image.open(stream).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(file, optimize=True)


def _figure(width: float, height: float) -> Figure:
    matplotlib.rcParams.update(
        {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    return Figure(figsize=(width, height), layout="constrained")


def curves(study: dict[str, Any]) -> Figure:
    """Test (solid) and training (dotted) accuracy after each epoch, mean of the seeds."""
    groups = grouped(study["runs"])
    recipes = list(dict.fromkeys(recipe for recipe, _ in groups))
    figure = _figure(4.2 * len(recipes), 3.6)
    axes = figure.subplots(1, len(recipes), sharey=True, squeeze=False)[0]
    for (recipe, block), runs in groups.items():
        axis = axes[recipes.index(recipe)]
        for field, style in (("test", "-"), ("train", ":")):
            points = np.mean([[one[field] for one in run["curve"]] for run in runs], axis=0)
            epochs = np.arange(1, len(points) + 1)
            label = block if field == "test" else None
            axis.plot(epochs, 100 * points, style, color=COLOURS[block], label=label)
    for recipe, axis in zip(recipes, axes, strict=True):
        axis.set(title=recipe, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_ylabel("accuracy, % (solid: test, dotted: train)")
    axes[-1].legend(frameon=False)
    return figure


def planes(study: dict[str, Any]) -> Figure:
    """t-SNE of the same test pictures by each block, of the first recipe of the study."""
    recipe = study["looks"][0]["recipe"]
    looks = [look for look in study["looks"] if look["recipe"] == recipe and "points" in look]
    looks.sort(key=lambda look: list(BLOCKS).index(look["block"]))
    figure = _figure(8.4, 6.0)
    colours = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    for place, look in enumerate(looks):
        axis = figure.add_subplot(2, 3, place + 1)
        points, labels = np.array(look["points"]), np.array(look["labels"])
        for label, name in enumerate(NAMES):
            chosen = points[labels == label]
            shown = name if place == 0 else None
            axis.scatter(chosen[:, 0], chosen[:, 1], s=4, color=colours[label], label=shown)
        axis.set(title=f"{look['block']}, silhouette {look['silhouette_plane']:.2f}")
        _bare(axis)
    figure.legend(loc="outside lower center", ncols=5, markerscale=3, frameon=False)
    figure.suptitle(f"{recipe}: t-SNE of {len(looks[0]['labels']):,} test pictures")
    return figure


def confusions(study: dict[str, Any]) -> Figure:
    """Which class is taken for which, in percent of the true class; block B if it is there."""
    groups = grouped(study["runs"])
    recipe, block = next((key for key in groups if key[1] == "B"), next(iter(groups)))
    counts = np.sum([run["confusion"] for run in groups[recipe, block]], axis=0)
    share = 100 * counts / counts.sum(1, keepdims=True).clip(1)
    figure = _figure(5.6, 5.2)
    axis = figure.add_subplot()
    axis.imshow(share, cmap="Blues", vmin=0, vmax=30)
    for row, column in np.ndindex(share.shape):
        shade = "white" if share[row, column] > 20 else "black"
        text = f"{share[row, column]:.0f}"
        axis.text(column, row, text, ha="center", va="center", color=shade, fontsize=8)
    axis.set(
        title=f"{recipe}, block {block}: % of each true class", xlabel="taken for", ylabel="is"
    )
    axis.set_xticks(range(10), NAMES, rotation=45, ha="right")
    axis.set_yticks(range(10), NAMES)
    return figure


def attention(found: dict[str, Any]) -> Figure:
    """Pictures above the weights that block B gives to their places, brighter is more."""
    pictures = [Image.open(io.BytesIO(base64.b64decode(text))) for text in found["pictures"]]
    figure = _figure(1.1 * len(pictures), 1.15 * (len(LAYERS) + 1) + 0.3)
    axes = figure.subplots(len(LAYERS) + 1, len(pictures))
    for column, picture in enumerate(pictures):
        axes[0, column].imshow(picture)
        axes[0, column].set_title(found["classes"][column], fontsize=8)
        for row, layer in enumerate(LAYERS, 1):
            weights = np.array(found["maps"][layer])
            low, high = weights.min(), weights.max()
            axes[row, column].imshow(weights[column], cmap="magma", vmin=low, vmax=high)
            axes[row, 0].set_ylabel(f"block {layer + 1}\n{low:.2f} to {high:.2f}", fontsize=7)
    for axis in axes.flat:
        _bare(axis)
    figure.suptitle(f"{found['recipe']}, block B: attention over the place", fontsize=9)
    return figure


def _bare(axis: Axes) -> None:
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
