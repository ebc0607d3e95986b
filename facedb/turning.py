"""Photos that lie on their side or upside down: turned upright, and their faces turned back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from facedb.types import Face, Photo


def turned(photo: Photo, turns: int) -> Photo:
    """The photo after so many quarter turns to the left."""
    width, height = (photo.height, photo.width) if turns % 2 else (photo.width, photo.height)
    pixels = np.ascontiguousarray(np.rot90(photo.pixels, turns))
    return replace(photo, pixels=pixels, width=width, height=height)


def turned_back(face: Face, photo: Photo, turns: int) -> Face:
    """A face of the turned photo, where the photo as it lies has it; its crop stays upright."""
    (x, y, width, height), points = face.box, face.landmarks
    for turn in range(turns, 0, -1):
        right = photo.width if turn % 2 else photo.height
        x, y, width, height = right - y - height, x, height, width
        points = np.column_stack([right - points[:, 1], points[:, 0]])
    return replace(face, box=(x, y, width, height), landmarks=points)
