"""Many photos -> faces -> embeddings, in order, with every core busy.

Each worker takes a few photos through all three stages; Pillow, OpenCV and ONNX Runtime let go of
the interpreter while they work, so threads are enough.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, TypeAlias

import numpy as np

from facedb.encoder import Encoder
from facedb.errors import PhotoError
from facedb.faces import Detector, use_one_thread
from facedb.photos import load_photo
from facedb.types import Embeddings, Face, Photo, Pixels

Which: TypeAlias = Literal["all", "largest"]

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
    """

    path: str
    sha256: str | None
    reason: str | None
    faces: tuple[Face, ...]
    faces_found: int
    embeddings: Embeddings = field(repr=False)


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
    use_one_thread()
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
    return Encoded(
        photo.path, photo.sha256, None, faces, len(found), encoder.embed(_crops([faces], encoder))
    )


def _encode(
    paths: Sequence[str],
    detector: Detector,
    encoder: Encoder,
    which: Which,
    known: Container[str],
) -> list[Encoded]:
    seen = [_look(path, detector, which, known) for path in paths]
    embeddings = encoder.embed(_crops([faces for _, _, faces, _ in seen], encoder))
    results: list[Encoded] = []
    start = 0
    for path, (digest, reason, faces, found) in zip(paths, seen, strict=True):
        rows = embeddings[start : start + len(faces)]
        start += len(faces)
        results.append(Encoded(path, digest, reason, faces, found, rows))
    return results


def _look(
    path: str, detector: Detector, which: Which, known: Container[str]
) -> tuple[str | None, str | None, tuple[Face, ...], int]:
    try:
        photo = load_photo(path)
    except PhotoError as error:
        return None, error.reason, (), 0
    if photo.sha256 in known:
        return photo.sha256, None, (), 0
    found = detector.detect(photo)
    return photo.sha256, None, tuple(found[:1] if which == "largest" else found), len(found)


def _crops(faces: Sequence[Sequence[Face]], encoder: Encoder) -> Pixels:
    crops = [face.crop for group in faces for face in group]
    side = encoder.input_size
    return np.stack(crops) if crops else np.empty((0, side, side, 3), dtype=np.uint8)


def _chunks(paths: Iterator[str], size: int) -> Iterator[list[str]]:
    while chunk := list(islice(paths, size)):
        yield chunk
