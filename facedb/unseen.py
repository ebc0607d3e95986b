"""Detectors that look at nothing: photos that are crops already, or are taken whole."""

from __future__ import annotations

import numpy as np

from facedb.alignment import CROP_SIDE, resize, template
from facedb.types import Face, Photo, Pixels


class CropsOnly:
    """For photos that are aligned crops already (`--detector none`): one face each, unseen.

    The face is the centre of the crop, 112 of 160 pixels or 0.7 of another size; a
    crop of exactly 112x112, or of the side that the encoder takes, is taken whole.
    """

    name = "none"
    fingerprint = "none"

    def __init__(self, side: int = CROP_SIDE) -> None:
        self._side = side

    def detect(self, photo: Photo) -> list[Face]:
        """The one face of the crop, score 1.0, with the template's landmarks."""
        height, width = photo.pixels.shape[:2]
        whole = height == width and height in (CROP_SIDE, self._side)
        side = height if whole else round(min(height, width) * 0.7)
        left, top = (width - side) // 2, (height - side) // 2
        square = photo.pixels[top : top + side, left : left + side]
        return [_unseen(photo, square, (left, top), self._side)]


class WholePhoto:
    """For encoders trained on whole photos (`--detector whole`): the photo, squeezed square."""

    name = "whole"
    fingerprint = "whole"

    def __init__(self, side: int = CROP_SIDE) -> None:
        self._side = side

    def detect(self, photo: Photo) -> list[Face]:
        """One face, the whole photo, score 1.0, with the template's landmarks."""
        return [_unseen(photo, photo.pixels, (0, 0), self._side)]


def _unseen(photo: Photo, part: Pixels, corner: tuple[int, int], side: int) -> Face:
    """The face that a part of the photo is, without a look."""
    size = np.array([part.shape[1], part.shape[0]])
    scale = np.array([photo.width, photo.height]) / photo.pixels.shape[1::-1]
    (left, top), (across, down) = corner * scale, size * scale
    landmarks = (template(CROP_SIDE) / CROP_SIDE * size + corner) * scale
    crop = np.ascontiguousarray(resize(part, (side, side)))
    box = float(left), float(top), float(across), float(down)
    return Face(box, landmarks.astype(np.float32), 1.0, crop)
