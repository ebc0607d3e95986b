"""Photo -> list[Face]: the detectors, the five-point alignment, and which face counts."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from facedb.alignment import CROP_SIDE, align, resize
from facedb.detections import (
    OUTPUTS,
    SCORE,
    STRIDES,
    Rows,
    decoded,
    merged,
    overlaps,
    suppress,
)
from facedb.errors import DetectorError
from facedb.runtime import FAILURES, open_session
from facedb.turning import turned, turned_back
from facedb.types import Face, Photo, Pixels
from facedb.unseen import CropsOnly, WholePhoto

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
import cv2

# Callers bring the threads. Now, for a forked process that asks waits for threads it has not got.
cv2.setNumThreads(1)

_SURER: Final = 0.02
"""By so much a face's score must grow when a photo is turned: some that stand grow by 0.014."""

_SAME: Final = 0.2
"""Intersection over union of a face as the photo lies, and turned: else another's is sideways."""

BUNDLED: Final = Path(__file__).resolve().parent / "models" / "detector" / "detector.onnx"
SURE: Final = 0.9
"""A detector's score of a face that nobody doubts."""

_READING: Final = 4
"""How a model's answers become crops: one more with every change, so that galleries are told.
Since 2, landmarks are the mean of all cells that see a face; since 3, photos from 480 to 720 pixels
are looked at twice."""

_NO_ROOM: Final = np.empty(0, np.float32)


class Detector(Protocol):
    """What finds faces. One object may be used from several threads at once."""

    @property
    def name(self) -> str:
        """For people: "bundled", "yunet", "none" or "whole"."""
        ...

    @property
    def fingerprint(self) -> str:
        """For galleries: the name, what its file hashes to, how it is read."""
        ...

    def detect(self, photo: Photo) -> list[Face]:
        """The faces, the one that counts first; none found is an empty list."""
        ...


@dataclass(frozen=True, slots=True)
class ScalePolicy:
    """At which sizes a photo is looked at; scripts/bench_detection.py compares them.

    Attributes:
        sides: long sides in pixels, the coarsest first: one pass at the photo's own size, or at
            the last of these if that is less, and one at the next that is clearly coarser.
        least_side: a photo whose long side is smaller is enlarged to it.
        rescue_sides: looked at in turn while nothing was found; reducing a photo takes away noise.
        threshold: the least detector score in [0, 1] that is a face.
        beside_threshold: the same for whoever is beside a face that scores SURE or more: a photo
            of people seldom shows what only looks like one (hysteresis; Canny, 1986).
        rescue_threshold: the same where it is looked at in turn, for each look at a photo without
            faces may find one.
        upright: a photo none of whose faces scores this is looked at sideways and upside down, too,
            and lies so where one does then, and 0.02 more than before.
        overlap: two finds with a larger intersection over union are one face.
    """

    sides: tuple[int, ...] = (320, 480, 1280)
    least_side: int = 224
    rescue_sides: tuple[int, ...] = (160, 96)
    threshold: float = 0.7
    beside_threshold: float = 0.7
    rescue_threshold: float = 0.7
    upright: float = SURE
    overlap: float = 0.3

    def scales(self, long_side: int) -> list[float]:
        """Factors by which to resize a photo of this long side, the coarsest first.

        The finest is the photo as it is, up to the last side. In a photo of 480 pixels and more a
        face may be larger than any the detector learned: the coarser look is for that one. It is
        the finest of the others that is 1.5 times coarser; a finer one would find nothing more.
        """
        finest = max(self.least_side, min(self.sides[-1], long_side))
        coarser = [side for side in self.sides[:-1] if side * 1.5 <= finest][-1:]
        return [side / long_side for side in (*coarser, finest)]

    @property
    def least(self) -> float:
        """The least score that may be a face, whatever is beside it."""
        return min(self.threshold, self.beside_threshold)

    def accepted(self, rows: Rows) -> Rows:
        """The rows of a photo, all of which score `least` or more, that are faces."""
        sure = (rows[:, SCORE] >= SURE).any()
        return rows[rows[:, SCORE] >= (self.least if sure else self.threshold)]


BUNDLED_POLICY: Final = ScalePolicy(beside_threshold=0.6, rescue_threshold=0.85, upright=0.95)
"""Our own detector learned on noise, and seldom needs to be rescued; it is surer of faces, of those
that are upside down, too (scripts/measure_turned.py)."""


class YuNet:
    """YuNet (Wu et al., Machine Intelligence Research 20, 2023), or a model of its head layout.

    ONNX Runtime runs it: the same boxes as cv2.FaceDetectorYN (a test holds them side by side) in
    less time (scripts/bench_detection.py), and one session serves every thread. A model that
    fixes its input size, as the release of March 2023 does, is shown each view in the corner of
    it.

    Raises:
        DetectorError: the file is missing, is no YuNet model, or is damaged.
    """

    def __init__(
        self,
        model_file: str | os.PathLike[str],
        policy: ScalePolicy | None = None,
        side: int = CROP_SIDE,
        name: str = "yunet",
    ) -> None:
        self.name, file = name, os.fspath(model_file)
        model = _read_model(file)
        self.fingerprint = f"{self.name}:{hashlib.sha256(model).hexdigest()[:16]}.{_READING}"
        self._policy = policy or ScalePolicy()
        self._side = side
        self._network = _Network(file, model)

    def detect(self, photo: Photo) -> list[Face]:
        """The faces of a photo, the one that counts first.

        A photo that lies on its side, or upside down, as scans do, is turned where that is sure:
        the surest face as it lies, if there is one, must be among those found then.
        """
        faces = self._detect(photo)
        surest = max(faces, key=lambda face: face.score, default=None)
        best = 0.0 if surest is None else surest.score
        if best >= self._policy.upright:
            return faces
        turns = self._turns(photo.pixels, max(best + _SURER, self._policy.upright))
        if not turns:
            return faces
        found = self._detect(turned(photo, turns))
        back = [turned_back(face, photo, turns) for face in found]
        boxes = np.array([face.box for face in back]).reshape(-1, 4)
        same = surest is None or (overlaps(np.array(surest.box), boxes) > _SAME).any()
        return back if same else faces

    def _turns(self, pixels: Pixels, least: float) -> int:
        """After how many quarter turns to the left a face scores most; 0 where none has `least`."""
        height, width = pixels.shape[:2]
        scale = self._policy.scales(max(height, width))[0]
        view = resize(pixels, (max(1, round(width * scale)), max(1, round(height * scale))))
        scores = {0: least}
        for turns in (1, 2, 3):
            rows = self._look(np.rot90(view, turns), 1.0, least)
            scores[turns] = float(rows[:, SCORE].max(initial=0.0))
        return max(scores, key=lambda turns: scores[turns])

    def _detect(self, photo: Photo) -> list[Face]:
        policy, pixels = self._policy, photo.pixels
        long_side = max(pixels.shape[:2])
        looks = [self._look(pixels, scale, policy.least) for scale in policy.scales(long_side)]
        found = policy.accepted(np.concatenate(looks))
        for side in policy.rescue_sides:
            if side < long_side and not len(found):
                found = self._look(pixels, side / long_side, policy.rescue_threshold)
        rows = merged(found, suppress(found, policy.overlap))
        return ranked([_face(row, photo, self._side) for row in rows], photo.width, photo.height)

    def _look(self, pixels: Pixels, scale: float, threshold: float) -> Rows:
        """One pass at one scale; the rows are in the pixels given."""
        height, width = pixels.shape[:2]
        if self._network.fixed is not None:
            scale = min(scale, self._network.fixed[0] / height, self._network.fixed[1] / width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        rows = self._network.rows(resize(pixels, size), threshold)
        rows[:, :14:2] *= width / size[0]
        rows[:, 1:14:2] *= height / size[1]
        return rows


class _Network:
    """The YuNet graph: pixels in, candidate rows out. `fixed` is its input's height and width."""

    def __init__(self, file: str, model: bytes) -> None:
        try:
            self._session = open_session(model)
            self._input = self._session.get_inputs()[0]
            down, across = self._input.shape[2:]
            self.fixed = (down, across) if isinstance(down, int) else None
            self._local = threading.local()
            self.rows(np.zeros((64, 64, 3), np.uint8), 1.0)
        except FAILURES as error:
            raise DetectorError(f"{file}: not a YuNet model, or damaged") from error

    def rows(self, view: Pixels, threshold: float) -> Rows:
        """Every candidate that scores the threshold or more, in pixels of the view."""
        blob = self._blob(view)
        outputs = self._session.run(list(OUTPUTS), {self._input.name: blob})
        named = dict(zip(OUTPUTS, outputs, strict=True))
        found = [decoded(named, stride, blob.shape[3], threshold) for stride in STRIDES]
        return np.concatenate(found).astype(np.float32)

    def _blob(self, view: Pixels) -> NDArray[np.float32]:
        """BGR planes 0..255, zeros to the right and below; the memory is used again."""
        height, width = view.shape[:2]
        last = STRIDES[-1]
        down, across = self.fixed or (-(-height // last) * last, -(-width // last) * last)
        size = 3 * down * across
        if getattr(self._local, "room", _NO_ROOM).size < size:
            self._local.room = np.empty(size, np.float32)
        blob: NDArray[np.float32] = self._local.room[:size].reshape(1, 3, down, across)
        blob[:, :, height:] = 0
        blob[..., width:] = 0
        blob[0, :, :height, :width] = view.transpose(2, 0, 1)[::-1]
        return blob


UNSEEN: Final = ("none", "whole")
"""Detectors that look at nothing."""

WITHOUT_FILE: Final = ("bundled", *UNSEEN)
"""Detectors that are named instead of a model file."""


def open_detector(spec: str | None, side: int = CROP_SIDE) -> Detector:
    """The detector named: "bundled", "none", "whole", or a model file.

    None looks into FACEDB_DETECTOR, and takes the bundled one where nothing is named there.

    Args:
        spec: what the user named.
        side: of the crops it cuts, in pixels: what the encoder takes.

    Raises:
        DetectorError: the file cannot be used.
    """
    match spec or os.environ.get("FACEDB_DETECTOR"):
        case None | "" | "bundled":
            return YuNet(BUNDLED, BUNDLED_POLICY, side, "bundled")
        case "none":
            return CropsOnly(side)
        case "whole":
            return WholePhoto(side)
        case file:
            return YuNet(file, side=side)


def ranked(faces: list[Face], width: int, height: int) -> list[Face]:
    """Faces of a photo of this size, the one that counts first.

    The rule is the box's area minus twice the squared distance of its centre from the photo's.
    """

    def rank(face: Face) -> float:
        x, y, across, down = face.box
        offset = (x + across / 2 - width / 2) ** 2 + (y + down / 2 - height / 2) ** 2
        return across * down - 2 * offset

    return sorted(faces, key=rank, reverse=True)


def _face(row: Rows, photo: Photo, side: int) -> Face:
    height, width = photo.pixels.shape[:2]
    landmarks = row[4:14].reshape(5, 2)
    scale = np.array([photo.width / width, photo.height / height])
    low = np.clip(row[:2], 0, (width, height)) * scale
    high = np.clip(row[:2] + row[2:4], 0, (width, height)) * scale
    return Face(
        box=(float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])),
        landmarks=(landmarks * scale).astype(np.float32),
        score=float(np.clip(row[14], 0.0, 1.0)),
        crop=align(photo.pixels, landmarks, side),
    )


def _read_model(file: str) -> bytes:
    try:
        with open(file, "rb") as stream:
            model = stream.read()
    except OSError as error:
        raise DetectorError(f"{file}: no detector there ({error.strerror})") from error
    if not all(output.encode() in model for output in OUTPUTS):
        raise DetectorError(f"{file}: not a YuNet model")
    return model
