"""The encoders that are measured side by side: the bundled one, two MobileFaceNets, and dlib.

The first comes with the detector to be measured, the MobileFaceNets, of which y1 is its teacher,
with YuNet, and dlib brings its own (HOG, then five landmarks), as its users run it. Crops and
embeddings are kept in a scratch folder, so that a second run costs seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
from measuring import DETECTOR
from numpy.typing import NDArray

from facedb.encoder import Encoder, open_encoder
from facedb.faces import Detector, open_detector
from facedb.photos import load_photo
from facedb.pipeline import encode_photos
from facedb.runtime import open_session
from facedb.types import Pixels

MOBILEFACENETS = ("y1", "foamliu")
PEERS = ("bundled", *MOBILEFACENETS)


@dataclass(frozen=True)
class Embedded:
    """float32[n, d] vectors of n photos, zero rows where `shown` (bool[n]) says: no face."""

    vectors: NDArray[np.float32]
    shown: NDArray[np.bool_]


def open_peer(name: str, models: Path) -> Encoder:
    """ "bundled", "y1", "foamliu", or whatever `--encoder` takes."""
    match name:
        case "y1":
            session = open_session(str(models / "insightface_y1_mobilefacenet_128.onnx"))
            return _peer(name, _planes(session, _raw))
        case "foamliu":
            session = open_session(str(models / "mobilefacenet_foamliu.onnx"))
            return _peer(name, _one_by_one(_planes(session, _imagenet)))
        case spec:
            return open_encoder(spec, "cpu")


def detector_of(peer: str, ours: Detector, models: Path) -> Detector:
    """What cuts a peer's crops."""
    return open_detector(str(models / DETECTOR.name)) if peer in MOBILEFACENETS else ours


def _peer(name: str, forward: Callable[[Pixels], NDArray[np.float32]]) -> Encoder:
    return Encoder(name, name, name, 128, None, "cpu", forward)


def _raw(crops: Pixels) -> NDArray[np.float32]:
    return crops.astype(np.float32)


def _imagenet(crops: Pixels) -> NDArray[np.float32]:
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return ((crops / 255.0 - mean) / deviation).astype(np.float32)


def _planes(
    session: Any, prepared: Callable[[Pixels], NDArray[np.float32]]
) -> Callable[[Pixels], NDArray[np.float32]]:
    name = session.get_inputs()[0].name

    def forward(crops: Pixels) -> NDArray[np.float32]:
        planes = np.ascontiguousarray(prepared(crops).transpose(0, 3, 1, 2))
        return np.asarray(session.run(None, {name: planes})[0], dtype=np.float32)

    return forward


def _one_by_one(
    forward: Callable[[Pixels], NDArray[np.float32]],
) -> Callable[[Pixels], NDArray[np.float32]]:
    return lambda crops: np.concatenate([forward(crop[None]) for crop in crops])


def crops_of(
    photos: Sequence[Path], detector: Detector, cache: Path, label: str
) -> tuple[Pixels, NDArray[np.bool_]]:
    """uint8[n, 112, 112, 3] crops of the largest faces, black where bool[n] says: none."""
    file = cache / f"crops-{label}-{_digest([detector.fingerprint, *map(_place, photos)])}.npz"
    if not file.exists():
        crops = np.zeros((len(photos), 112, 112, 3), dtype=np.uint8)
        shown = np.zeros(len(photos), dtype=np.bool_)
        nothing = _peer("nothing", lambda many: np.ones((len(many), 128), dtype=np.float32))
        found = encode_photos([str(photo) for photo in photos], detector, nothing)
        with click.progressbar(found, length=len(photos), label=f"{label}: faces") as bar:
            for row, result in enumerate(bar):
                if result.faces:
                    crops[row], shown[row] = result.faces[0].crop, True
        _saved(file, crops=crops, shown=shown)
    with np.load(file) as data:
        return data["crops"], data["shown"]


def embedded(
    crops: Pixels, shown: NDArray[np.bool_], encoder: Encoder, cache: Path, label: str
) -> Embedded:
    """Embeddings of crops by one encoder."""
    inputs = [encoder.fingerprint, hashlib.sha256(crops.tobytes()).hexdigest()]
    file = cache / f"vectors-{label}-{encoder.name}-{_digest(inputs)}.npz"
    if not file.exists():
        vectors = np.zeros((len(crops), encoder.dim), dtype=np.float32)
        rows = np.flatnonzero(shown)
        blocks = [rows[start : start + 64] for start in range(0, len(rows), 64)]
        with click.progressbar(blocks, label=f"{label}: {encoder.name}") as bar:
            for block in bar:
                vectors[block] = encoder.embed(crops[block])
        _saved(file, vectors=vectors)
    with np.load(file) as data:
        return Embedded(data["vectors"], shown)


class Dlib:
    """dlib as face_recognition runs it: HOG detector, five landmarks, ResNet-29, 128-d."""

    def __init__(self) -> None:
        import dlib

        # The package itself cannot be imported without setuptools; only its files are wanted.
        found = find_spec("face_recognition_models")
        if found is None or found.origin is None:
            raise click.UsageError("dlib's models are missing: pip install '.[bench]'")
        models = Path(found.origin).parent / "models"
        self._detector = dlib.get_frontal_face_detector()
        self._landmarks = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
        weights = models / "dlib_face_recognition_resnet_model_v1.dat"
        self._network = dlib.face_recognition_model_v1(str(weights))

    def embed(self, pixels: Pixels) -> NDArray[np.float32] | None:
        """float32[128] of the largest face, of any length, as dlib's users compare it; or None."""
        boxes = self._detector(pixels, 1)
        if not len(boxes):
            return None
        box = max(boxes, key=lambda found: found.area())
        described = self._network.compute_face_descriptor(pixels, self._landmarks(pixels, box))
        return np.asarray(described, dtype=np.float32)


def by_dlib(photos: Sequence[Path], cache: Path, label: str) -> Embedded:
    """Embeddings of whole photos by dlib, in two processes: it holds on to the interpreter.

    They are saved as they come, some hundreds at a time.
    """
    parts = [photos[start : start + 250] for start in range(0, len(photos), 250)]
    with (
        ProcessPoolExecutor(2, get_context("spawn"), _open_dlib) as pool,
        click.progressbar(parts, label=f"{label}: dlib") as bar,
    ):
        found = [_part_by_dlib(part, cache, label, pool) for part in bar]
    return Embedded(
        np.concatenate([part.vectors for part in found]),
        np.concatenate([part.shown for part in found]),
    )


def _part_by_dlib(
    photos: Sequence[Path], cache: Path, label: str, pool: ProcessPoolExecutor
) -> Embedded:
    file = cache / f"vectors-{label}-dlib-{_digest([_place(photo) for photo in photos])}.npz"
    if not file.exists():
        vectors = np.zeros((len(photos), 128), dtype=np.float32)
        shown = np.zeros(len(photos), dtype=np.bool_)
        for row, vector in enumerate(pool.map(_by_dlib, photos, chunksize=16)):
            if vector is not None:
                vectors[row], shown[row] = vector, True
        _saved(file, vectors=vectors, shown=shown)
    with np.load(file) as data:
        return Embedded(data["vectors"], data["shown"])


_dlib: Dlib | None = None


def _open_dlib() -> None:
    global _dlib
    _dlib = Dlib()


def _by_dlib(photo: Path) -> NDArray[np.float32] | None:
    assert _dlib is not None
    return _dlib.embed(np.ascontiguousarray(load_photo(str(photo)).pixels))


def _place(photo: Path) -> str:
    return "/".join(photo.parts[-3:])


def _digest(inputs: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(inputs).encode()).hexdigest()[:16]


def _saved(file: Path, **arrays: NDArray[Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name("new-" + file.name)
    np.savez(temporary, **arrays)
    temporary.replace(file)
