"""Seven distortions that photographs suffer, seeded and graded in five severities.

The default severity was chosen once, before any model was compared under it, so that a face
encoder suffers from each kind about as much as from the kind's counterpart in FACECOM
(scripts/measure_distortions.py; docs/results/distortions.json has the figures).

blurred, lowlight and noisy are transforms of Albumentations. The others are made here: RandomFog
takes 40 ms for a photo of 250 pixels, RandomRain knows three densities, the look of RandomSunFlare
depends on the photo's size in pixels, and Downscale shifts a photo by up to a pixel where the
smaller size is not a whole number. All lengths are parts of a photo's
side (the square root of its area), so that a crop of 112 pixels and a photo of 250 look alike.
"""

from __future__ import annotations

import math
import os
import zlib
from typing import Any, Final

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import cv2
import numpy as np
from numpy.typing import NDArray

from facedb.errors import DependencyMissing, InputError
from facedb.types import Pixels

SEVERITIES: Final = (1, 2, 3, 4, 5)
DEFAULT_SEVERITY: Final = 3

LEVELS: Final[dict[str, tuple[float, float, float, float, float]]] = {
    # Standard deviation of a Gaussian, in parts of the side.
    "blurred": (0.003, 0.0045, 0.006, 0.009, 0.013),
    # The mean share of a pixel that is fog.
    "foggy": (0.50, 0.60, 0.70, 0.77, 0.84),
    # The share of the light that is left.
    "lowlight": (0.60, 0.45, 0.30, 0.20, 0.12),
    # Standard deviation in parts of the full range, on a grid of GRID pixels.
    "noisy": (0.05, 0.085, 0.12, 0.17, 0.23),
    # Streaks in a square photo.
    "rainy": (80, 150, 230, 350, 520),
    # The share of the pixels along each side that is left.
    "resized": (0.82, 0.70, 0.58, 0.40, 0.26),
    # Standard deviation of the glare around the sun, in parts of the side.
    "sunny": (0.06, 0.11, 0.16, 0.21, 0.27),
}
"""What each severity means, frozen. A level that is measured again is a new data set."""

KINDS: Final = tuple(LEVELS)

GRID: Final = 250
"""Pixels: streaks and grain are as fine as on a photo whose side is this long."""

_DARK_GRAIN: Final = 0.01
_FOG: Final = (214, 217, 220)
_DROP: Final = (225, 228, 232)
_SUN: Final = (255, 252, 238)
_FOG_CELLS: Final = 5

Plane = NDArray[np.float32]
"""float32[H, W] in [0, 1]: how much of a pixel is covered."""


def distort(pixels: Pixels, kind: str, severity: int | None = None, seed: int = 0) -> Pixels:
    """A distorted copy of a photo, uint8[H, W, 3] RGB of the same size.

    The same arguments give the same bytes in every process. With one seed, streaks, clouds, grain
    and the sun stay where they are from one severity to the next.

    Args:
        pixels: uint8[H, W, 3] RGB; not changed.
        kind: one of KINDS.
        severity: one of SEVERITIES; None is DEFAULT_SEVERITY.
        seed: any integer. blurred and resized have nothing random.

    Raises:
        InputError: an unknown kind or severity, or pixels of another dtype or shape.
        DependencyMissing: Albumentations is not installed.
    """
    level = level_of(kind, severity)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise InputError(f"distort: {pixels.dtype}{list(pixels.shape)} is not uint8[H, W, 3] RGB")
    number = zlib.crc32(f"{kind} {seed}".encode())
    match kind:
        case "foggy":
            return _foggy(pixels, level, np.random.default_rng(number))
        case "rainy":
            return _rainy(pixels, level, np.random.default_rng(number))
        case "sunny":
            return _sunny(pixels, level, np.random.default_rng(number))
        case "resized":
            return _resized(pixels, level)
        case _:
            transform = _transform(kind, level, pixels.shape[0], pixels.shape[1])
            transform.set_random_seed(number)
            return np.asarray(transform(image=pixels)["image"], np.uint8)


def level_of(kind: str, severity: int | None = None) -> float:
    """The number in LEVELS behind a kind and a severity; None is DEFAULT_SEVERITY.

    Raises:
        InputError: an unknown kind or severity.
    """
    if kind not in LEVELS:
        raise InputError(f"{kind}: no such distortion; there are {', '.join(KINDS)}")
    severity = DEFAULT_SEVERITY if severity is None else severity
    if severity not in SEVERITIES:
        raise InputError(f"{kind}: no severity {severity}; there are 1 (mild) to 5 (hard)")
    return LEVELS[kind][SEVERITIES.index(severity)]


def _transform(kind: str, level: float, height: int, width: int) -> Any:
    """The Albumentations transform for photos of this size."""
    side = math.sqrt(height * width)
    A = _albumentations()
    match kind:
        case "blurred":
            return A.GaussianBlur(blur_limit=0, sigma_limit=(level * side, level * side), p=1)
        case "lowlight":
            less = level - 1
            dark = A.RandomBrightnessContrast((0, 0), (less, less), p=1)
            return A.Compose([dark, _grain(A, _DARK_GRAIN, side)])
        case _:
            return _grain(A, level, side)


def _grain(A: Any, deviation: float, side: float) -> Any:
    """Gaussian noise that looks the same on every size: coarser on more pixels, fainter on fewer.

    White noise that is averaged from GRID to fewer pixels loses deviation in proportion.
    """
    faint = deviation * min(1.0, side / GRID)
    return A.GaussNoise((faint, faint), noise_scale_factor=min(1.0, GRID / side), p=1)


def _albumentations() -> Any:
    try:
        import albumentations
    except ImportError as error:
        raise DependencyMissing(
            "Albumentations is not installed; from a clone: pip install '.[train]'"
        ) from error
    return albumentations


def _resized(pixels: Pixels, share: float) -> Pixels:
    """Made smaller, then as large as it was."""
    height, width = pixels.shape[:2]
    size = max(1, round(width * share)), max(1, round(height * share))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height)), np.uint8)


def _foggy(pixels: Pixels, share: float, random: np.random.Generator) -> Pixels:
    """Grey-white air, denser in places: clouds are random on a few cells, then interpolated."""
    cells = random.random((_FOG_CELLS, _FOG_CELLS), np.float32)
    clouds = _spread(0.3 * (cells - cells.mean()), pixels)
    return _cover(pixels, _FOG, share + clouds)


def _rainy(pixels: Pixels, streaks: float, random: np.random.Generator) -> Pixels:
    """Streaks along one wind, in three shades, through air that is a little grey."""
    down, across = _grid(pixels)
    wind = random.uniform(-0.35, 0.35)
    x, y, length = random.random((round(streaks * down * across / GRID**2), 3)).T
    fall = GRID * (0.06 + 0.12 * length)
    start = np.column_stack([x * across, y * 1.2 * down - 0.2 * down])
    end = start + np.column_stack([fall * wind, fall])
    lines = np.stack([start, end], axis=1).round().astype(np.int32)
    rain = np.full((down, across), 30, np.uint8)
    for first, shade in enumerate((130, 175, 220)):
        cv2.polylines(rain, list(lines[first::3]), False, shade, 1, cv2.LINE_AA)
    return _cover(pixels, _DROP, _spread(rain.astype(np.float32) / np.float32(255), pixels))


def _sunny(pixels: Pixels, radius: float, random: np.random.Generator) -> Pixels:
    """The sun in the lens: glare around a place near the middle, and three reflections of it."""
    down, across = _grid(pixels)
    x, y = across * random.uniform(0.35, 0.65), down * random.uniform(0.3, 0.6)
    squares = (np.arange(across) - x) ** 2 + (np.arange(down)[:, None] - y) ** 2
    near = np.exp(squares.astype(np.float32) / (-2 * (radius * GRID) ** 2))
    glare = 1.3 * near + 0.5 * np.sqrt(np.sqrt(near))
    for along, size, light in ((0.6, 0.05, 0.12), (1.3, 0.08, 0.10), (1.7, 0.035, 0.15)):
        centre = round(x + along * (across - 2 * x)), round(y + along * (down - 2 * y))
        glare += cv2.circle(np.zeros_like(glare), centre, round(size * GRID), light, -1)
    return _cover(pixels, _SUN, _spread(glare, pixels))


def _grid(pixels: Pixels) -> tuple[int, int]:
    """Rows and columns of a photo of this shape whose area is that of a square of GRID."""
    height, width = pixels.shape[:2]
    scale = GRID / math.sqrt(height * width)
    return math.ceil(height * scale), math.ceil(width * scale)


def _spread(plane: Plane, pixels: Pixels) -> Plane:
    """A plane brought to the photo's size."""
    smaller = pixels.shape[0] < plane.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(plane, pixels.shape[1::-1], interpolation=how), np.float32)


def _cover(pixels: Pixels, colour: tuple[int, int, int], share: Plane) -> Pixels:
    """A share of each pixel, cut to [0, 1], is replaced by the colour."""
    share = share.clip(0, 1)
    above = np.full_like(pixels, colour)
    return np.asarray(cv2.blendLinear(above, pixels, share, 1 - share), np.uint8)
