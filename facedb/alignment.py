"""Cutting a face out of a photo: five landmarks onto a template, and resizing."""

from __future__ import annotations

import os
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facedb.types import Pixels

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
import cv2

CROP_SIDE: Final = 112
TEMPLATE: Final[NDArray[np.float64]] = np.array([
    (38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655),
    (70.7299, 92.2041),
])  # fmt: skip
"""float64[5, 2]: where ArcFace (Deng et al., CVPR 2019) puts the landmarks in a crop of 112."""

_COMPLEX: Final = np.array([1, 1j])
"""x + iy, of a point's row."""


def template(side: int) -> NDArray[np.float64]:
    """float64[5, 2]: TEMPLATE in a crop of another side; pixel centres keep their place."""
    scaled: NDArray[np.float64] = (TEMPLATE + 0.5) * (side / CROP_SIDE) - 0.5
    return scaled


def similarity(source: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """The least-squares similarity transform of points onto points, float64[2, 3].

    Rotation, one scale and a shift, no mirroring: `target ~ source @ m[:, :2].T + m[:, 2]`, both
    [n, 2]. As complex numbers points regress on points; the slope is what Umeyama's closed form
    (IEEE PAMI 13(4), 1991, eq. 40 to 43) comes to in the plane.
    """
    middle, goal = source.mean(axis=0, dtype=np.float64), target.mean(axis=0, dtype=np.float64)
    here, there = (source - middle) @ _COMPLEX, (target - goal) @ _COMPLEX
    slope = np.vdot(here, there) / np.vdot(here, here).real
    turn = np.array([[slope.real, -slope.imag], [slope.imag, slope.real]])
    return np.column_stack([turn, goal - turn @ middle])


def align(pixels: Pixels, landmarks: NDArray[np.floating], side: int = CROP_SIDE) -> Pixels:
    """Cut a face out so that its landmarks [5, 2] lie on TEMPLATE: uint8[side, side, 3].

    What lies outside the picture is black. A face that is much larger than the crop is averaged
    down first, since warpAffine reads only four pixels for each of its own.
    """
    matrix = similarity(landmarks, template(side))
    shrink = min(int(1 / np.hypot(matrix[0, 0], matrix[1, 0])), *pixels.shape[:2])
    if shrink >= 2:
        pixels, corner = _around(pixels, matrix, shrink, side)
        pixels = average(pixels, shrink)
        # Pixel centres: small (i + 0.5) * shrink - 0.5 is where its block's middle was.
        matrix[:, 2] += matrix[:, :2] @ (corner + (shrink - 1) / 2)
        matrix[:, :2] *= shrink
    return np.asarray(cv2.warpAffine(pixels, matrix, (side, side)), np.uint8)


def _around(
    pixels: Pixels, matrix: NDArray[np.float64], margin: int, side: int
) -> tuple[Pixels, NDArray[np.float64]]:
    """The part of the pixels that the crop reads, no smaller than the margin, and its corner."""
    corners = np.array([[0, 0], [side, 0], [0, side], [side, side]])
    there = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    limits = np.array([pixels.shape[1], pixels.shape[0]])
    low = np.clip(there.min(axis=0) - 2 * margin, 0, limits - margin).astype(int)
    high = np.clip(there.max(axis=0) + 2 * margin, low + margin, limits).astype(int)
    return pixels[low[1] : high[1], low[0] : high[0]], low.astype(np.float64)


def resize(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """To a width and height: whole blocks are averaged first, the rest is interpolated.

    A reduction by OpenCV's INTER_AREA alone is no better here and takes four times as long.
    """
    small = average(pixels, min(pixels.shape[1] // size[0], pixels.shape[0] // size[1]))
    if small.shape[1::-1] == size:
        return small
    return np.asarray(cv2.resize(small, size), np.uint8)


def average(pixels: Pixels, block: int) -> Pixels:
    """The means of square blocks; what doesn't fill a block at the right and below is cut off."""
    if block < 2:
        return pixels
    down, across = pixels.shape[0] // block, pixels.shape[1] // block
    whole = pixels[: down * block, : across * block]
    return np.asarray(cv2.resize(whole, (across, down), interpolation=cv2.INTER_AREA), np.uint8)
