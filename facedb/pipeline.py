"""Many photos -> faces -> embeddings, in order, with every core busy.

Each worker takes a few photos through all three stages; Pillow, OpenCV and ONNX Runtime let go of
the interpreter while they work, so threads are enough.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NamedTuple

import numpy as np

from facedb.encoder import Encoder
from facedb.errors import PhotoError
from facedb.faces import UNSEEN, Detector
from facedb.photos import load_photo, reasons
from facedb.quality import QualityModel
from facedb.types import Embeddings, Face, Photo, Pixels, Quality, Which

CHUNK = 16


@dataclass(frozen=True, slots=True)
class Encoded:
    """What became of one photo.

    Attributes:
        path: the file.
        sha256: hex digest of its bytes; None where it could not be read.
        reason: why it could not be read, or None.
        faces: those that were encoded, the one that counts first; without a face, none.
        faces_found: how many the detector found.
        embeddings: float32[len(faces), d] unit rows.
        qualities: of the faces, or none where the encoder's card can't tell.
        known: whether it was one of those that need no faces, and so was not looked at.
    """

    path: str
    sha256: str | None
    reason: str | None
    faces: tuple[Face, ...]
    faces_found: int
    embeddings: Embeddings = field(repr=False)
    qualities: tuple[Quality, ...] = ()
    known: bool = False

    @property
    def unusable(self) -> str | None:
        """Why the face that counts cannot be enrolled, or None."""
        if self.reason is not None or not self.faces:
            return self.reason or reasons.NO_FACE
        lost = bool(self.qualities) and self.qualities[0].unrecognisable
        return reasons.UNRECOGNISABLE if lost else None


def encode_photos(
    paths: Iterable[str],
    detector: Detector,
    encoder: Encoder,
    which: Which = "largest",
    known: Container[str] = (),
) -> Iterator[Encoded]:
    """Read, detect and encode photos.

    Args:
        paths: photo files.
        which: the face that counts, or all of them.
        known: sha256 digests of photos that need no faces: they come back without.

    Yields:
        One Encoded a path, in order.
    """
    workers = os.cpu_count() or 1
    chunks = _chunks(iter(paths), CHUNK)
    waiting: deque[Future[list[Encoded]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="facedb") as pool:
        try:
            for chunk in chunks:
                waiting.append(pool.submit(_encode, chunk, detector, encoder, which, known))
                if len(waiting) > 2 * workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def encode_photo(photo: Photo, detector: Detector, encoder: Encoder, which: Which) -> Encoded:
    """The faces of one photo that is in memory."""
    found = detector.detect(photo)
    faces = tuple(found[:1] if which == "largest" else found)
    embeddings = encoder.embed(_crops(faces, encoder))
    qualities = _qualities(faces, embeddings, quality_model(detector, encoder))
    return Encoded(photo.path, photo.sha256, None, faces, len(found), embeddings, qualities)


def _encode(
    paths: Sequence[str],
    detector: Detector,
    encoder: Encoder,
    which: Which,
    known: Container[str],
) -> list[Encoded]:
    seen = [_look(path, detector, which, known) for path in paths]
    every = [face for one in seen for face in one.faces]
    embeddings = encoder.embed(_crops(every, encoder))
    qualities = _qualities(every, embeddings, quality_model(detector, encoder))
    results: list[Encoded] = []
    start = 0
    for path, one in zip(paths, seen, strict=True):
        its = slice(start, start + len(one.faces))
        start += len(one.faces)
        results.append(
            Encoded(
                path,
                one.sha256,
                one.reason,
                one.faces,
                one.found,
                embeddings[its],
                qualities[its],
                one.known,
            )
        )
    return results


class _Seen(NamedTuple):
    """What of `Encoded` is told without the encoder."""

    sha256: str | None
    reason: str | None = None
    faces: tuple[Face, ...] = ()
    found: int = 0
    known: bool = False


def _look(path: str, detector: Detector, which: Which, known: Container[str]) -> _Seen:
    try:
        photo = load_photo(path)
    except PhotoError as error:
        return _Seen(None, error.reason)
    if photo.sha256 in known:
        return _Seen(photo.sha256, known=True)
    found = detector.detect(photo)
    faces = tuple(found[:1] if which == "largest" else found)
    return _Seen(photo.sha256, None, faces, len(found))


def quality_model(detector: Detector, encoder: Encoder) -> QualityModel | None:
    """What tells the quality of faces; None where the encoder's card can't.

    Crops that nobody looked for are taken as they are: none of them is unrecognisable.
    """
    model = QualityModel.of(encoder.card)
    if model is None or detector.name not in UNSEEN:
        return model
    return replace(model, unrecognisable=0.0)


def _qualities(
    faces: Sequence[Face], embeddings: Embeddings, model: QualityModel | None
) -> tuple[Quality, ...]:
    return () if model is None else tuple(model(faces, embeddings))


def _crops(faces: Sequence[Face], encoder: Encoder) -> Pixels:
    crops, side = [face.crop for face in faces], encoder.input_size
    return np.stack(crops) if crops else np.empty((0, side, side, 3), dtype=np.uint8)


def _chunks(paths: Iterator[str], size: int) -> Iterator[list[str]]:
    while chunk := list(islice(paths, size)):
        yield chunk
