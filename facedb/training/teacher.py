"""What a teacher says of each photo, asked once before training, or of each new picture."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch.fx import GraphModule
from torch.fx.passes.shape_prop import ShapeProp

from facedb.encoder import Encoder, open_encoder
from facedb.encoder.encoder import unit_rows
from facedb.errors import DependencyMissing, EncoderError, InputError
from facedb.faces import Detector
from facedb.pipeline import encode_photos
from facedb.runtime import FAILURES, save_folded
from facedb.training.data import CLEAN, Faces
from facedb.training.losses import GRID
from facedb.types import Embeddings, Pixels, Progress

_AT_ONCE = 1024  # crops
_SIDE = 112  # pixels of the crops that an ONNX file takes

Look: TypeAlias = Callable[[Pixels], tuple[torch.Tensor, torch.Tensor]]
"""uint8[n, 112, 112, 3] -> float32[n, d], of any length, and a feature map float32[n, c, h, w]."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """Whom to learn from.

    Attributes:
        encoder: its embeddings.
        look: both its embeddings and its last feature map; None where it shows no map.
        channels: of that map.
    """

    encoder: Encoder
    look: Look | None = None
    channels: int = 0


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
        hints: float16[n, c, GRID, GRID], its feature maps; c is 0 without them.
        known: bool[n], which are there.
    """

    def __init__(self, teacher: Teacher, pictures: int, hints: bool = False) -> None:
        self._teacher, self._asking = teacher, Lock()
        channels = teacher.channels if hints else 0
        self.targets = torch.zeros(pictures, teacher.encoder.dim)
        self.hints = torch.zeros(pictures, channels, GRID, GRID, dtype=torch.float16)
        self.known = torch.zeros(pictures, dtype=torch.bool)

    def __call__(
        self, pictures: torch.Tensor, clean: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """float32[n, d] and float16[n, c, GRID, GRID] of int64[n] pictures.

        uint8[n, s, s, 3] is looked at where it is new.
        """
        new, where = np.unique(pictures.numpy(), return_index=True)
        with self._asking:
            asked = ~self.known[new].numpy()
            if asked.any():
                self._ask(new[asked], clean.numpy()[where[asked]])
            return self.targets[pictures], self.hints[pictures]

    def _ask(self, pictures: NDArray[np.int64], clean: Pixels) -> None:
        looked = self._teacher.look
        if looked is None or not self.hints.shape[1]:
            self.targets[pictures] = torch.from_numpy(embed(self._teacher.encoder, clean))
        else:
            raw, maps = looked(clean)
            rows = unit_rows(raw.numpy(), self._teacher.encoder.dim)
            self.targets[pictures] = torch.from_numpy(rows)
            self.hints[pictures] = F.adaptive_avg_pool2d(maps, GRID).half()
        self.known[pictures] = True

    def forget(self, renewed: NDArray[np.bool_]) -> None:
        """bool[pictures]: those that are made anew."""
        self.known[torch.from_numpy(renewed)] = False

    def state(self) -> tuple[torch.Tensor, ...]:
        """Everything that was said, as tensors."""
        with self._asking:
            return self.targets.clone(), self.hints.clone(), self.known.clone()

    def restore(self, state: tuple[torch.Tensor, ...]) -> None:
        """Take up what `state` gave."""
        self.targets, self.hints, self.known = state


def open_teacher(spec: str, device: str = "cpu", precision: torch.dtype = torch.float32) -> Teacher:
    """An encoder: "bundled", a bundle folder, "timm:MODEL", or an ONNX file.

    An ONNX file takes float32[n, 3, 112, 112] RGB, 0 to 255, and gives float32[n, d]; torch runs
    it, on `device` and in `precision`. It alone shows a feature map.

    Raises:
        EncoderError: it cannot be opened.
    """
    if not spec.endswith(".onnx"):
        return Teacher(open_encoder(spec, "cuda" if device == "cuda" else "cpu"))
    if not Path(spec).is_file():
        raise EncoderError(f"--teacher {spec}: no such file")
    found = _network_of(spec)

    @torch.no_grad()
    def look(crops: Pixels) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.from_numpy(crops).to(device, precision).permute(0, 3, 1, 2)
        embeddings, maps = network(images)
        return embeddings.float().cpu(), maps.float().cpu()

    def forward(crops: Pixels) -> NDArray[np.float32]:
        embeddings: NDArray[np.float32] = look(crops)[0].numpy()
        return embeddings

    try:
        network = _showing(found).to(device, precision).to(memory_format=torch.channels_last)
        embeddings, maps = look(np.zeros((1, _SIDE, _SIDE, 3), np.uint8))
        dim, channels = embeddings.shape[1], maps.shape[1]
    except (RuntimeError, ValueError, IndexError) as error:
        raise EncoderError(f"--teacher {spec}: it takes no RGB crops of 112: {error}") from error
    return Teacher(Encoder(spec, Path(spec).stem, spec, dim, None, device, forward), look, channels)


def _showing(network: GraphModule) -> torch.nn.Module:
    """A network that beside its embeddings gives the narrowest of its smallest feature maps.

    Where blocks add to what came before, that is the sum after the last of them.
    """
    ShapeProp(network.eval()).propagate(torch.zeros(1, 3, _SIDE, _SIDE))
    shapes = {
        node: tuple(node.meta["tensor_meta"].shape)
        for node in network.graph.nodes
        if node.op in ("placeholder", "call_module") and "tensor_meta" in node.meta
    }
    maps = {node: shape for node, shape in shapes.items() if len(shape) == 4 and shape[3] > 1}
    smallest = min(shape[3] for shape in maps.values())
    last = [node for node, shape in reversed(maps.items()) if shape[3] == smallest]
    (end,) = network.graph.find_nodes(op="output")
    end.args = ((end.args[0], min(last, key=lambda node: maps[node][1])),)
    network.recompile()
    return network


def _network_of(file: str) -> GraphModule:
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
            model = onnx.load(folded)
            network: GraphModule = onnx2torch.convert(model)
        except (*FAILURES, NotImplementedError) as error:
            raise EncoderError(
                f"--teacher {file}: no network that torch can take up: {error}; export it as ONNX "
                "of convolutions, normalisations and matrix products"
            ) from error
    if len(model.graph.output) != 1:
        names = ", ".join(output.name for output in model.graph.output)
        raise EncoderError(f"--teacher {file}: it gives {names}; export the embedding alone")
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


def ask_of_crops(
    teacher: Encoder, faces: Faces, clean: bool, progress: Progress | None = None
) -> Answers:
    """`ask` of a teacher that takes the very crops that will be trained on: no photo is read."""
    source = _clean_versions(faces) if clean else np.arange(len(faces))
    rows, place = np.unique(source, return_inverse=True)
    told = np.zeros((len(rows), teacher.dim), np.float32)
    for start in range(0, len(rows), _AT_ONCE):  # the crops may lie in a file
        part = slice(start, start + _AT_ONCE)
        told[part] = embed(teacher, faces.crops[rows[part]])
        if progress is not None:
            progress(min(part.stop, len(rows)), len(rows))
    return Answers(told[place], np.ones(len(faces), np.bool_))


def embed(teacher: Encoder, crops: Pixels) -> Embeddings:
    """The teacher's embeddings of crops, every core taking a part."""
    if teacher.spec.endswith(".onnx"):
        return teacher.embed(crops)  # torch's own threads; of the others one call keeps to a thread
    workers = os.cpu_count() or 1
    parts = np.array_split(crops, max(1, min(len(crops), 4 * workers)))
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
