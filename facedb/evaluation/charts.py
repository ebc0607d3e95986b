"""Charts as SVG text: lines, histograms and heat maps, dark ink on white. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

BLUE, ORANGE, INK, PALE, LINE = "#1a5a9c", "#b84300", "#1d2126", "#5b6470", "#d5d8dc"
_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 24, 14, 46


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: what it says, its ends, where it has marks, and how numbers are written."""

    words: str
    low: float
    high: float
    marks: Sequence[float]
    written: Callable[[float], str]
    logarithmic: bool = False

    def place(self, values: NDArray[np.float64], length: float) -> NDArray[np.float64]:
        """Where values lie, in pixels from the low end; outside values at the ends."""
        held = np.clip(values, self.low, self.high)
        if self.logarithmic:
            share = np.log(held / self.low) / math.log(self.high / self.low)
        else:
            share = (held - self.low) / (self.high - self.low)
        return np.asarray(share * length)


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve: float64[n] each; `steps` draws a staircase."""

    words: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    steps: bool = False


def line_chart(across: Axis, up: Axis, curve: Curve) -> str:
    """A curve over two axes."""
    return _svg([*_frame(across, up), _path(across, up, curve)], curve.words)


def histogram(
    across: Axis, groups: Sequence[tuple[str, NDArray[np.float64], str]], mark: float | None
) -> str:
    """Shares of values in 40 bins, one group over the other; `mark` is a threshold."""
    edges = np.linspace(across.low, across.high, 41)
    shares = [
        np.histogram(np.clip(values, across.low, across.high), edges)[0] / max(1, len(values))
        for _, values, _ in groups
    ]
    most = max([0.01, *(float(share.max()) for share in shares)])
    top = math.ceil(most * 25) / 25  # so that each of the four marks is a whole percent
    up = Axis("share of each", 0.0, top, np.linspace(0, top, 5).tolist(), percent)
    parts = _frame(across, up)
    width = (_WIDTH - _LEFT - _RIGHT) / 40
    for (_, _, colour), share in zip(groups, shares, strict=True):
        for place, value in enumerate(share.tolist()):
            height = float(up.place(np.array([value]), _HEIGHT - _TOP - _BOTTOM)[0])
            if height > 0:
                parts.append(
                    f'<rect x="{_LEFT + place * width:.1f}" y="{_HEIGHT - _BOTTOM - height:.1f}" '
                    f'width="{width:.1f}" height="{height:.1f}" fill="{colour}" '
                    'fill-opacity="0.55"/>'
                )
    if mark is not None:
        parts.append(_upright(across, mark))
    parts += _legend([(words, colour) for words, _, colour in groups])
    return _svg(parts, "histogram of distances")


def heat_table(heads: Sequence[str], rows: Sequence[tuple[str, Sequence[float | None]]]) -> str:
    """An HTML table whose cells are the darker the larger their share is."""
    lines = ["<table class='heat'><thead><tr><th></th>"]
    lines += [f"<th>{escape(head)}</th>" for head in heads]
    lines.append("</tr></thead><tbody>")
    for words, shares in rows:
        cells = "".join(_cell(share) for share in shares)
        lines.append(f"<tr><th scope='row'>{escape(words)}</th>{cells}</tr>")
    return "".join([*lines, "</tbody></table>"])


def percent(share: float) -> str:
    """A share as it stands on an axis: "5 %"."""
    return f"{100 * share:.3g} %"


def _cell(share: float | None) -> str:
    if share is None or not math.isfinite(share):
        return "<td class='none'>&ndash;</td>"
    white = (255, 255, 255)
    deep = (18, 78, 140)
    mixed = [round(w + (d - w) * 0.9 * share) for w, d in zip(white, deep, strict=True)]
    ink = "#fff" if share > 0.78 else INK
    return f"<td style='background:rgb{tuple(mixed)};color:{ink}'>{100 * share:.1f} %</td>"


def _frame(across: Axis, up: Axis) -> list[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for mark in up.marks:
        y = bottom - float(up.place(np.array([mark]), bottom - _TOP)[0])
        parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="{LINE}"/>')
        parts.append(_text(_LEFT - 6, y + 4, up.written(mark), "end"))
    for mark in across.marks:
        x = _LEFT + float(across.place(np.array([mark]), right - _LEFT)[0])
        parts.append(
            f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 4}" stroke="{INK}"/>'
        )
        parts.append(_text(x, bottom + 17, across.written(mark), "middle"))
    parts.append(
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="{INK}" stroke-width="1"/>'
    )
    parts.append(_text((_LEFT + right) / 2, _HEIGHT - 10, across.words, "middle"))
    middle = (_TOP + bottom) / 2
    turned = f'transform="rotate(-90 12 {middle:.0f})"'
    parts.append(_text(12, middle, up.words, "middle", turned))
    return parts


def _path(across: Axis, up: Axis, curve: Curve) -> str:
    x = _LEFT + across.place(curve.x, _WIDTH - _LEFT - _RIGHT)
    y = _HEIGHT - _BOTTOM - up.place(curve.y, _HEIGHT - _TOP - _BOTTOM)
    kept = _seen(x, y)
    x, y = x[kept], y[kept]
    points = [f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True)]
    if curve.steps:
        points = points[:1] + [f"{x[n]:.1f} {y[n - 1]:.1f}L{points[n]}" for n in range(1, len(x))]
    return (
        f'<path d="M{"L".join(points)}" fill="none" stroke="{BLUE}" stroke-width="2"/>'
        if points
        else ""
    )


def _seen(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The points that a reader can tell apart: the first in each pixel, and the last of all."""
    moves = np.any(np.diff(np.rint([x, y]), axis=1) != 0, axis=0)
    kept = np.ones(len(x), dtype=np.bool_)
    kept[1:-1] = moves[:-1]
    return kept


def _upright(across: Axis, at: float) -> str:
    x = _LEFT + float(across.place(np.array([at]), _WIDTH - _LEFT - _RIGHT)[0])
    return (
        f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_HEIGHT - _BOTTOM}" stroke="{INK}" '
        f'stroke-dasharray="3 3"/>' + _text(x - 5, _TOP + 11, "threshold", "end")
    )


def _legend(items: Sequence[tuple[str, str]]) -> list[str]:
    if len(items) < 2:
        return []
    parts = []
    for row, (words, colour) in enumerate(items):
        y = _TOP + 12 + 17 * row
        parts.append(
            f'<line x1="{_WIDTH - 176}" y1="{y - 4}" x2="{_WIDTH - 152}" y2="{y - 4}" '
            f'stroke="{colour}" stroke-width="4"/>'
        )
        parts.append(_text(_WIDTH - 146, y, words, "start"))
    return parts


def _text(x: float, y: float, words: str, anchor: str, more: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{PALE}" {more}>'
        f"{escape(words)}</text>"
    )


def _svg(parts: Sequence[str], words: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(words)}" '
        'font-size="12">' + "".join(parts) + "</svg>"
    )
