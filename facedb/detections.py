"""What a network of YuNet's head layout sees, as rows: decoded, suppressed, merged."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

STRIDES: Final = (8, 16, 32)
OUTPUTS: Final = tuple(
    f"{head}_{stride}" for head in ("cls", "obj", "bbox", "kps") for stride in STRIDES
)
"""The names of the network's outputs."""

SAME: Final = 0.5
"""Boxes whose intersection over union is this or more are of one face."""

SCORE: Final = 14
"""The column of a row's score."""

Rows = NDArray[np.float32]
"""float32[n, 15], YuNet's own: x, y, width, height, five x-y landmarks, score."""

_Float = TypeVar("_Float", bound=np.floating[Any])


def decoded(
    outputs: dict[str, NDArray[np.float32]], stride: int, width: int, threshold: float
) -> Rows:
    """What one stride's cells see that score the threshold or more.

    A cell's box is an offset and the logarithm of a size, its landmarks are offsets, in strides.
    """
    scores = outputs[f"cls_{stride}"][0, :, 0].clip(0, 1) * outputs[f"obj_{stride}"][0, :, 0]
    scores = np.sqrt(scores.clip(0, 1))
    best = np.flatnonzero(scores >= threshold)
    cells = np.column_stack([best % (width // stride), best // (width // stride)])
    boxes, points = outputs[f"bbox_{stride}"][0, best], outputs[f"kps_{stride}"][0, best]
    sizes = np.exp(boxes[:, 2:]) * stride
    corners = (cells + boxes[:, :2]) * stride - sizes / 2
    landmarks = (np.tile(cells, 5) + points) * stride
    return np.hstack([corners, sizes, landmarks, scores[best, None]])


def suppress(rows: Rows, overlap: float) -> list[int]:
    """Non-maximum suppression: the rows kept, the highest score first."""
    kept = cv2.dnn.NMSBoxes(rows[:, :4].tolist(), rows[:, SCORE].tolist(), 0.0, overlap)
    return [int(index) for index in kept]


def merged(rows: NDArray[_Float], kept: list[int]) -> NDArray[_Float]:
    """The rows kept, their landmarks the mean of all rows that see the same face, by score.

    A face is seen by several cells, each of which errs on its own (BlazeFace does so against
    jitter; Bazarevsky et al., 2019).
    """
    faces = rows[kept]
    for face in faces:
        weights = rows[:, SCORE] * (overlaps(face[:4], rows[:, :4]) >= SAME)
        face[4:14] = weights @ rows[:, 4:14] / weights.sum()
    return faces


def overlaps(
    box: NDArray[np.floating[Any]], boxes: NDArray[np.floating[Any]]
) -> NDArray[np.floating[Any]]:
    """The intersection over union of a box with each of n.

    Args:
        box: float[4], x, y, width, height.
        boxes: float[n, 4].

    Returns:
        float[n] in [0, 1].
    """
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:])
    common = (high - low).clip(min=0).prod(axis=1)
    either = box[2:].prod() + boxes[:, 2:].prod(axis=1) - common
    return np.asarray(common / either)
