"""What YuNet answers at every cell of every stride of a view: the labels."""

from __future__ import annotations

import os
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facedb.errors import DetectorError
from facedb.runtime import FAILURES, open_session
from facedb.training.detector.network import STRIDES
from facedb.types import Pixels

OUTPUTS: Final = tuple(
    f"{head}_{stride}" for head in ("cls", "obj", "bbox", "kps") for stride in STRIDES
)
"""The names of YuNet's outputs, and of ours."""

Answers = NDArray[np.float32]
"""float32[cells, 15], the finest stride first: score in [0, 1], box, landmarks, as in YuNet's own
maps (offsets from the cell's corner and logarithms of sizes, in strides)."""


class Teacher:
    """A YuNet model without fixed input size, and its answers undecoded.

    Raises:
        DetectorError: the file is missing, damaged, or no such model.
    """

    def __init__(self, model_file: str | os.PathLike[str]) -> None:
        file = os.fspath(model_file)
        try:
            self._session = open_session(file)
            self._input = self._session.get_inputs()[0].name
            self.answers(np.zeros((64, 64, 3), np.uint8))
        except FAILURES as error:
            raise DetectorError(f"{file}: not a YuNet model of any input size") from error

    def answers(self, view: Pixels) -> Answers:
        """For a view uint8[H, W, 3] RGB, H and W multiples of 32."""
        blob = np.ascontiguousarray(view.transpose(2, 0, 1)[None, ::-1], np.float32)
        outputs = self._session.run(list(OUTPUTS), {self._input: blob})
        named = dict(zip(OUTPUTS, outputs, strict=True))
        return np.concatenate([_rows(named, stride) for stride in STRIDES])


def _rows(named: dict[str, NDArray[np.float32]], stride: int) -> Answers:
    cls, obj, box, landmarks = (
        named[f"{head}_{stride}"][0] for head in ("cls", "obj", "bbox", "kps")
    )
    score = np.sqrt(cls.clip(0, 1) * obj.clip(0, 1))
    return np.hstack([score, box, landmarks]).astype(np.float32)
