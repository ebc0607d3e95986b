"""What a teacher says of each photo: asked once, before training."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facedb.encoder import Encoder, open_encoder
from facedb.errors import EncoderError, InputError
from facedb.faces import Detector
from facedb.pipeline import encode_photos
from facedb.runtime import FAILURES, open_session
from facedb.training.data import CLEAN, Faces, Progress
from facedb.types import Embeddings, Pixels


@dataclass(frozen=True, slots=True)
class Answers:
    """A teacher's embeddings.

    Attributes:
        targets: float32[n, d] unit rows, zero where it saw no face.
        known: bool[n], where it saw one.
    """

    targets: Embeddings
    known: NDArray[np.bool_]


def open_teacher(spec: str) -> Encoder:
    """An encoder: "bundled", a bundle folder, "timm:MODEL", or an ONNX file.

    An ONNX file takes float32[n, 3, 112, 112] RGB, 0 to 255, and gives float32[n, d].

    Raises:
        EncoderError: it cannot be opened.
    """
    if not spec.endswith(".onnx"):
        return open_encoder(spec)
    if not Path(spec).is_file():
        raise EncoderError(f"--teacher {spec}: no such file")
    try:
        session = open_session(spec)
        name = session.get_inputs()[0].name
        dim = session.run(None, {name: np.zeros((1, 3, 112, 112), np.float32)})[0].shape[1]
    except FAILURES as error:
        raise EncoderError(f"--teacher {spec}: ONNX Runtime cannot use it: {error}") from error

    def forward(crops: Pixels) -> NDArray[np.float32]:
        images = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), dtype=np.float32)
        embeddings: NDArray[np.float32] = session.run(None, {name: images})[0]
        return embeddings

    return Encoder(spec, Path(spec).stem, spec, int(dim), None, "cpu", forward)


def ask(
    teacher: Encoder,
    faces: Faces,
    detector: Detector,
    clean: bool,
    progress: Progress | None = None,
) -> Answers:
    """The teacher's embedding of each photo, its own alignment applied.

    Args:
        teacher: what to learn from.
        faces: what will be trained on.
        detector: cuts the crops that the teacher takes.
        clean: show it the clean version of each photo, for all its versions.
        progress: called with photos done and photos to do.

    Raises:
        InputError: it saw no face in any photo.
    """
    source = _clean_versions(faces) if clean else np.arange(len(faces))
    rows = np.unique(source)
    targets = np.zeros((len(faces), teacher.dim), np.float32)
    known = np.zeros(len(faces), np.bool_)
    paths = [faces.paths[row] for row in rows]
    for done, (row, answer) in enumerate(
        zip(rows, encode_photos(paths, detector, teacher), strict=True), 1
    ):
        if answer.faces:
            targets[row], known[row] = answer.embeddings[0], True
        if progress is not None:
            progress(done, len(rows))
    if not known.any():
        raise InputError(f"{paths[0]}: the teacher's detector found no face in any photo")
    return Answers(targets[source], known[source])


def embed(teacher: Encoder, crops: Pixels) -> Embeddings:
    """The teacher's embeddings of crops, every core taking a part: one call keeps to a thread."""
    workers = os.cpu_count() or 1
    parts = np.array_split(crops, min(len(crops), 4 * workers))
    with ThreadPoolExecutor(workers) as pool:
        return np.concatenate(list(pool.map(teacher.embed, parts)))


def _clean_versions(faces: Faces) -> NDArray[np.int64]:
    """int64[n]: the row of each photo's clean version; its own where there is none."""
    clean = {
        photo: row
        for row, (photo, kind) in enumerate(zip(faces.photos.tolist(), faces.kinds, strict=True))
        if kind == CLEAN
    }
    return np.array([clean.get(photo, row) for row, photo in enumerate(faces.photos.tolist())])
