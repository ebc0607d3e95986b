"""What YuNet answers at every cell of every stride of a view, and the maps it answers from."""

from __future__ import annotations

import itertools
import os
from typing import Final

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray

from facedb.detections import SCORE, STRIDES, merged
from facedb.errors import DetectorError
from facedb.faces import ScalePolicy
from facedb.runtime import FAILURES, open_session
from facedb.training.detector.losses import FACE
from facedb.types import Pixels

HINTS: Final = ("214", "223", "232"), ("256", "246", "236")
"""The maps of the strides that the backbone ends in, and that the heads look at: the names that
they have in YuNet of May 2026. 64 channels each."""

SURE: Final = ScalePolicy().threshold
"""What the teacher scores where it is used, at least."""

_UNHEARD: Final = 1e-6
"""A factor of a doubtful cell's score: nothing beside a sure one, a weight among its like."""

Answers = NDArray[np.float32]
"""float32[cells, 15], the finest stride first: score in [0, 1], box, landmarks, as in YuNet's own
maps (offsets from the cell's corner and logarithms of sizes, in strides)."""

Maps = NDArray[np.float16]
"""float16[cells, 128], the backbone's channels and then the heads'; no columns where a model has
no such maps."""


class Teacher:
    """A YuNet model without fixed input size: its answers, undecoded, and its maps.

    Attributes:
        hints: whether the model has the maps of HINTS.

    Raises:
        DetectorError: the file is missing, damaged, or no such model.
    """

    def __init__(self, model_file: str | os.PathLike[str]) -> None:
        file = os.fspath(model_file)
        try:
            model = onnx.load(file)
            made = {name for node in model.graph.node for name in node.output}
            self.hints = all(name in made for names in HINTS for name in names)
            for name in itertools.chain(*HINTS) if self.hints else ():
                model.graph.output.append(onnx.ValueInfoProto(name=name))
            self._session = open_session(model.SerializeToString())
            self._input = self._session.get_inputs()[0].name
            self._outputs = [output.name for output in self._session.get_outputs()]
            self.look(np.zeros((64, 64, 3), np.uint8))
        except OSError as error:
            raise DetectorError(f"{file}: no model there ({error.strerror})") from error
        except (*FAILURES, DecodeError, KeyError) as error:
            raise DetectorError(f"{file}: not a YuNet model of any input size") from error

    def look(self, view: Pixels) -> tuple[Answers, Maps]:
        """At a view uint8[H, W, 3] RGB, H and W multiples of 32; the landmarks are `agreed`."""
        blob = np.ascontiguousarray(view.transpose(2, 0, 1)[None, ::-1], np.float32)
        outputs = self._session.run(self._outputs, {self._input: blob})
        named = dict(zip(self._outputs, outputs, strict=True))
        rows = np.concatenate([_rows(named, stride) for stride in STRIDES])
        answers = agreed(rows, *view.shape[:2])
        if not self.hints:
            return answers, np.empty((len(answers), 0), np.float16)
        groups = [np.concatenate([_cells(named[name]) for name in names]) for names in HINTS]
        return answers, np.hstack(groups).astype(np.float16)


def agreed(answers: Answers, height: int, width: int) -> Answers:
    """The same, but cells that see one face give it the same landmarks: their mean, by score.

    Each cell errs on its own: what they agree on is nearer to the truth, and easier to learn. Where
    one of them scores SURE, those that score less aren't heard, as when the teacher is used.

    Args:
        answers: of a view of height x width pixels.
        height: a multiple of 32.
        width: a multiple of 32.
    """
    sees = np.flatnonzero(answers[:, 0] >= FACE)
    cells, strides = _grid(height, width)
    cells, strides = cells[sees], strides[sees]
    found = _faces(answers[sees].astype(np.float64), cells, strides)
    found[found[:, SCORE] < SURE, SCORE] *= _UNHEARD
    points = merged(found, list(range(len(found))))[:, 4:14]
    changed = answers.copy()
    changed[sees, 5:] = points / strides - np.tile(cells, 5)
    return changed


def _faces(
    told: NDArray[np.float64], cells: NDArray[np.int64], strides: NDArray[np.int64]
) -> NDArray[np.float64]:
    """What these cells say: left, top, width, height and landmarks, in pixels; and the score."""
    size = np.exp(told[:, 3:5]) * strides
    corner = (cells + told[:, 1:3]) * strides - size / 2
    points = (np.tile(cells, 5) + told[:, 5:]) * strides
    return np.hstack([corner, size, points, told[:, :1]])


def _grid(height: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """int64[cells, 2], every cell's column and row, and int64[cells, 1], its stride in pixels."""
    grids = [np.mgrid[: height // s, : width // s].reshape(2, -1).T[:, ::-1] for s in STRIDES]
    strides = np.repeat(STRIDES, [len(grid) for grid in grids])
    return np.concatenate(grids), strides[:, None]


def _cells(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32[1, c, h, w] -> float32[h * w, c]."""
    return np.asarray(maps[0].reshape(maps.shape[1], -1).T)


def _rows(named: dict[str, NDArray[np.float32]], stride: int) -> Answers:
    cls, obj, box, landmarks = (
        named[f"{head}_{stride}"][0] for head in ("cls", "obj", "bbox", "kps")
    )
    score = np.sqrt(cls.clip(0, 1) * obj.clip(0, 1))
    return np.hstack([score, box, landmarks]).astype(np.float32)
