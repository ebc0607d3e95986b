"""What a teacher says of each photo, asked once before training, or of each new picture."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from facedb.encoder import Encoder, open_encoder
from facedb.errors import DependencyMissing, EncoderError, InputError
from facedb.faces import Detector
from facedb.pipeline import encode_photos
from facedb.runtime import FAILURES, save_folded
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


class Memory:
    """A teacher's answers about pictures that come back, each asked for once.

    Attributes:
        targets: float32[n, d] unit rows, by picture.
        known: bool[n], which are there.
    """

    def __init__(self, teacher: Encoder, pictures: int) -> None:
        self._teacher = teacher
        self.targets = torch.zeros(pictures, teacher.dim)
        self.known = torch.zeros(pictures, dtype=torch.bool)

    def __call__(self, pictures: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        """float32[n, d] of int64[n] pictures; uint8[n, s, s, 3] is looked at where it is new."""
        new, where = np.unique(pictures.numpy(), return_index=True)
        asked = ~self.known[new].numpy()
        if asked.any():
            answers = embed(self._teacher, clean.numpy()[where[asked]])
            self.targets[new[asked]] = torch.from_numpy(answers)
            self.known[new[asked]] = True
        return self.targets[pictures]

    def forget(self) -> None:
        """Before the pictures are renewed."""
        self.known.zero_()


def open_teacher(spec: str, device: str = "cpu", precision: torch.dtype = torch.float32) -> Encoder:
    """An encoder: "bundled", a bundle folder, "timm:MODEL", or an ONNX file.

    An ONNX file takes float32[n, 3, 112, 112] RGB, 0 to 255, and gives float32[n, d]; torch runs
    it, on `device` and in `precision`, where bfloat16 is several times faster.

    Raises:
        EncoderError: it cannot be opened.
    """
    if not spec.endswith(".onnx"):
        return open_encoder(spec, "cuda" if device == "cuda" else "cpu")
    if not Path(spec).is_file():
        raise EncoderError(f"--teacher {spec}: no such file")
    network = _network_of(spec).to(device, precision).eval()
    network = network.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward(crops: Pixels) -> NDArray[np.float32]:
        images = torch.from_numpy(crops).to(device, precision).permute(0, 3, 1, 2)
        embeddings: NDArray[np.float32] = network(images).float().cpu().numpy()
        return embeddings

    try:
        dim = forward(np.zeros((1, 112, 112, 3), np.uint8)).shape[1]
    except (RuntimeError, ValueError, IndexError) as error:
        raise EncoderError(f"--teacher {spec}: it takes no RGB crops of 112: {error}") from error
    return Encoder(spec, Path(spec).stem, spec, int(dim), None, device, forward)


def _network_of(file: str) -> torch.nn.Module:
    """The network of an ONNX file, its batch normalisations folded into its convolutions."""
    try:
        import onnx
        import onnx2torch
    except ImportError as error:
        raise DependencyMissing(
            f"--teacher {file}: an ONNX file needs onnx2torch: pip install '.[train]'"
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        folded = str(Path(folder, "folded.onnx"))
        try:
            save_folded(file, folded)
            network: torch.nn.Module = onnx2torch.convert(onnx.load(folded))
        except (*FAILURES, NotImplementedError) as error:
            raise EncoderError(
                f"--teacher {file}: no network that torch can take up: {error}; export it as ONNX "
                "of convolutions, normalisations and matrix products"
            ) from error
    return network


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
    """The teacher's embeddings of crops, every core taking a part."""
    if teacher.spec.endswith(".onnx"):
        return teacher.embed(crops)  # torch's own threads; of the others one call keeps to a thread
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
