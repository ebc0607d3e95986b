"""Views: what teacher and student look at, cut, turned and tiled out of the material.

A view is a function of its number and the seed alone, so that a run that is stopped and goes on
sees what it would have seen.
"""

from __future__ import annotations

import itertools
import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facedb.training.detector.material import Material
from facedb.training.distortions import KINDS, distort
from facedb.types import Pixels

SIDE: Final = 192
GRIDS: Final = (1, 1, 1, 2, 2, 3, 4)
"""Tiles along a side of a view, drawn evenly: whole views, and mosaics of up to 16 photographs."""

PLAIN_GRIDS: Final = (1, 2, 4, 8)
"""The same of views that are pictures without faces."""

LEAST_FACE: Final = 9.0
LEAST_SHARE: Final = 0.15
MOST_FACE: Final = 1.5
MOST_TURN: Final = 30.0
AT_BORDER: Final = 0.35
"""Of the faces, moved half out of their tile at most, as people at a photo's edge are."""

MIRRORED: Final = 0.7
"""Of the photographs, carried on beyond their edges by what lies before; others end in a colour."""

PADDED: Final = 0.3
"""Of the views, dark to the right and below, as a photo is whose sides are no multiples of 32."""

TURNED_OVER: Final = 0.03
ANYWHERE: Final = 0.1
PLAIN_TILE: Final = 0.16
PLAIN_VIEW: Final = 0.25
MOST_ENLARGED: Final = 3.5

SOFT: Final = 0.2
"""Of the photographs, out of focus for the teacher too, as people in the background are."""

MOST_SOFT: Final = 0.02
"""The widest blur's standard deviation, in sides of the photograph's tile."""

COVERED: Final = 0.4
"""Of the photographs, with a head and shoulders of another before them."""

BEHIND: Final = 0.22
"""Of the people, drawn among those that are not the largest of their photo: one in ten is, and
most of what a detector misses."""

PORTRAIT: Final = 0.5
"""Of the people, in the middle as photographers place them: a cell errs by where in it a face lies,
and there most faces lie alike."""

PORTRAYED: Final = 0.35, 0.65
OFF_MIDDLE: Final = 0.04
"""Their size in sides of the tile, and the deviation of their place from its middle."""

DISTORTED: Final = 0.3
GREY: Final = 0.1
LIT: Final = 0.5
"""Of the views, in another light for the teacher too: no photograph shows what light it had."""


def clean_view(
    material: Material, random: np.random.Generator, side: int = SIDE, change: float = 1.0
) -> Pixels:
    """A view uint8[side, side, 3] RGB: one photograph or a mosaic; some show no face.

    `change` times LIT of them are in another light.
    """
    plain = random.random() < PLAIN_VIEW
    grid = int(random.choice(PLAIN_GRIDS if plain else GRIDS))
    view = np.empty((side, side, 3), np.uint8)
    for top, bottom in itertools.pairwise(_edges(random, grid, side)):
        for left, right in itertools.pairwise(_edges(random, grid, side)):
            size = max(bottom - top, right - left)
            one = (_plain if plain else _tile)(material, random, size)
            view[top:bottom, left:right] = one[: bottom - top, : right - left]
    if random.random() < LIT * change:
        view = _lit(view, random)
    if random.random() < PADDED:
        down, across = random.integers(side - 31, side + 1, 2)
        view[down:], view[:, across:] = 0, 0
    return view


def _edges(random: np.random.Generator, grid: int, side: int) -> list[int]:
    """Where tiles begin and end: evenly, moved by as much as 0.35 of a tile."""
    moves = random.uniform(-0.35, 0.35, grid + 1) * (side / grid)
    moves[[0, -1]] = 0
    return [int(edge) for edge in (np.linspace(0, side, grid + 1) + moves).round()]


def _tile(material: Material, random: np.random.Generator, side: int) -> Pixels:
    draw = random.random()
    if draw < PLAIN_TILE:
        return _texture(random, side) if draw < PLAIN_TILE / 4 else _plain(material, random, side)
    if draw < PLAIN_TILE + ANYWHERE or not len(material.faces):
        number = int(random.integers(len(material.starts)))
        photo = material.photo(number)
        box = np.array([0, 0, photo.shape[1], photo.shape[0]], np.float32)
        return cut(photo, placed(box, side, side * random.uniform(0.8, 2.5), random), side, random)
    tile = _person(material, random, side)[0]
    if random.random() < SOFT:
        tile = _out_of_focus(tile, side * random.uniform(0, MOST_SOFT))
    return _covered(tile, material, random) if random.random() < COVERED else tile


def _person(
    material: Material, random: np.random.Generator, side: int
) -> tuple[Pixels, NDArray[np.float64]]:
    """A view about one face, and float64[4, 2], the corners of its box there."""
    behind = len(material.behind) > 0 and random.random() < BEHIND
    face = int(random.choice(material.behind) if behind else random.integers(len(material.faces)))
    least = max(LEAST_FACE, LEAST_SHARE * side)
    size = math.exp(random.uniform(math.log(least), math.log(MOST_FACE * side)))
    box = material.faces[face]
    portrait = random.random() < PORTRAIT
    if portrait:
        size = side * random.uniform(*PORTRAYED)
    size = min(size, MOST_ENLARGED * float(box[2:].max()))
    photo = material.photo(int(material.owners[face]))
    matrix = placed(box, side, size, random)
    if portrait:
        middle = side / 2 + random.normal(0, OFF_MIDDLE * side, 2)
        matrix[:, 2] = middle - matrix[:, :2] @ (box[:2].astype(np.float64) + box[2:] / 2)
    corners = box[:2] + box[2:] * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    return cut(photo, matrix, side, random), corners @ matrix[:, :2].T + matrix[:, 2]


def _out_of_focus(view: Pixels, sigma: float) -> Pixels:
    """Blurred by a Gaussian of this many pixels."""
    return view if sigma < 0.2 else np.asarray(cv2.GaussianBlur(view, (0, 0), sigma), np.uint8)


def _covered(view: Pixels, material: Material, random: np.random.Generator) -> Pixels:
    """The view with a head and shoulders out of another before it."""
    side = view.shape[0]
    other, (left, right, low_right, low_left) = _person(material, random, side)
    across, down = (right - left) / 2, (low_left - left) / 2
    middle = (left + low_right) / 2
    around = np.linspace(0, 2 * math.pi, 24, endpoint=False)[:, None]
    head = middle + 1.3 * (np.cos(around) * across + np.sin(around) * down)
    below = [(-0.6, 0.8), (0.6, 0.8), (2.2, 2.0), (2.2, 9.0), (-2.2, 9.0), (-2.2, 2.0)]
    shoulders = middle + np.array([x * across + y * down for x, y in below])
    mask = np.zeros((side, side), np.float32)
    for outline in (head, shoulders):
        cv2.fillPoly(mask, [outline.round().astype(np.int32)], 1.0)
    share = cv2.GaussianBlur(mask, (0, 0), random.uniform(0.4, 1.5))[..., None]
    return np.asarray(np.rint(view * (1 - share) + other * share), np.uint8)


def placed(
    box: NDArray[np.float32], side: int, size: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """The affine map, float64[2, 3], that brings a box somewhere into a view.

    Args:
        box: x, y, width, height in a photograph.
        side: of the view, in pixels.
        size: what the longer side of the box becomes, in pixels of the view.
        random: draws the place (the view's border may cut up to half of the box), the turn,
            the flip.
    """
    scale = size / max(float(box[2:].max()), 1.0)
    turn = math.radians(float(np.clip(random.normal(0, MOST_TURN / 2.5), -MOST_TURN, MOST_TURN)))
    if random.random() < TURNED_OVER:
        turn += math.pi / 2 * int(random.integers(1, 4))
    cos, sin = scale * math.cos(turn), scale * math.sin(turn)
    linear = np.array([[cos, -sin], [sin, cos]])
    if random.random() < 0.5:
        linear[:, 0] *= -1
    room = abs(side - size) / 2 + 0.15 * min(size, side)
    target = side / 2 + random.uniform(-room, room, 2)
    if random.random() < AT_BORDER:
        inside = random.uniform(0, 0.5) * min(size, side)
        target[int(random.integers(2))] = random.choice([inside, side - inside])
    centre = box[:2].astype(np.float64) + box[2:] / 2
    return np.column_stack([linear, target - linear @ centre])


def cut(
    photo: Pixels, matrix: NDArray[np.float64], side: int, random: np.random.Generator
) -> Pixels:
    """The view of a photograph under an affine map; averaged first where it shrinks a lot."""
    scale = math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
    matrix = matrix.copy()
    if scale < 0.6:
        size = [max(1, round(edge * scale)) for edge in photo.shape[1::-1]]
        matrix[:, :2] @= np.diag(np.array(photo.shape[1::-1]) / size)
        photo = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
    around = random.integers(0, 256, 3).tolist() if random.random() < 0.5 else [0, 0, 0]
    border = cv2.BORDER_REFLECT_101 if random.random() < MIRRORED else cv2.BORDER_CONSTANT
    view = cv2.warpAffine(
        photo,
        matrix,
        (side, side),
        flags=cv2.INTER_LINEAR,
        borderMode=border,
        borderValue=around,
    )
    return np.asarray(view, np.uint8)


def _plain(material: Material, random: np.random.Generator, side: int) -> Pixels:
    picture = material.plain[int(random.integers(len(material.plain)))]
    how = cv2.INTER_CUBIC if side > picture.shape[0] else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, (side, side), interpolation=how), np.uint8)


def _texture(random: np.random.Generator, side: int) -> Pixels:
    """Noise of some coarseness, from one colour to grain; bright or dark."""
    cells = int(2 ** random.uniform(0, math.log2(side)))
    coarse = random.integers(0, 256, (cells, cells, 3), np.uint8)
    how = random.choice([cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC])
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=int(how)), np.uint8)


def worsened(view: Pixels, random: np.random.Generator, change: float = 1.0) -> Pixels:
    """What the student sees of a clean view: the same, grey, or one of the seven distortions.

    Mild severities come more often: under the hardest ones a small face would be gone altogether.
    `change` times GREY and DISTORTED of the views are changed.
    """
    if random.random() < GREY * change:
        view = np.repeat(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    if random.random() < DISTORTED * change:
        severity = int(random.choice([1, 1, 2, 2, 3, 3, 4]))
        view = distort(view, str(random.choice(KINDS)), severity, int(random.integers(2**31)))
    return view


def _lit(view: Pixels, random: np.random.Generator) -> Pixels:
    """Contrast, brightness and gamma, by a table; the colours a little apart."""
    level = np.arange(256) / 255
    curves = [
        (level ** math.exp(random.normal(0, 0.25)) - 0.5) * math.exp(random.normal(0, 0.2))
        + 0.5
        + random.normal(0, 0.08)
    ]
    tables = [curves[0] + random.normal(0, 0.03) for _ in range(3)]
    table = np.rint(np.stack(tables, axis=1).clip(0, 1) * 255).astype(np.uint8)
    return np.asarray(cv2.LUT(view, table[None]), np.uint8)
