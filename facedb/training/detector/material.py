"""What views are cut from: photographs, where their faces are, and pictures without faces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facedb.errors import InputError
from facedb.faces import ScalePolicy, YuNet
from facedb.photos import load_photo
from facedb.types import Pixels

LABELLING: Final = ScalePolicy(sides=(160, 480), least_side=480, rescue_sides=(96,), threshold=0.5)
"""At which scales YuNet looks for the faces that views are centred on."""

_PIXELS: Final = "pixels.npy"
_TABLE: Final = "photos.npz"


@dataclass(frozen=True)
class Material:
    """Photographs and pictures, all of them in one array that may be a file.

    Attributes:
        pixels: uint8[n], every photo's RGB bytes one after the other.
        starts: int64[photos], where each begins.
        shapes: int64[photos, 2], height and width.
        faces: float32[faces, 4], x, y, width, height in pixels of their photo.
        owners: int64[faces], the photo that each face is in.
        plain: uint8[m, side, side, 3], pictures without faces.
    """

    pixels: NDArray[np.uint8]
    starts: NDArray[np.int64]
    shapes: NDArray[np.int64]
    faces: NDArray[np.float32]
    owners: NDArray[np.int64]
    plain: NDArray[np.uint8]

    @cached_property
    def behind(self) -> NDArray[np.int64]:
        """int64[n], the numbers of the faces that are not the largest of their photo."""
        sizes = self.faces[:, 2] * self.faces[:, 3]
        largest = np.zeros(len(self.starts), np.float32)
        np.maximum.at(largest, self.owners, sizes)
        return np.flatnonzero(sizes < largest[self.owners])

    def photo(self, number: int) -> Pixels:
        """uint8[H, W, 3] RGB of a photo; not to be written to."""
        height, width = self.shapes[number]
        start = self.starts[number]
        return self.pixels[start : start + 3 * height * width].reshape(height, width, 3)


def gather(files: Iterable[Path], plain: Sequence[Pixels], model: Path) -> Material:
    """Read photographs and ask YuNet at several scales where their faces are.

    Raises:
        PhotoError: a file cannot be used.
        DetectorError: the model cannot be used.
    """
    detector = YuNet(model, LABELLING)
    photos: list[Pixels] = []
    faces: list[tuple[float, float, float, float]] = []
    owners: list[int] = []
    for number, file in enumerate(files):
        photo = load_photo(file)
        photos.append(photo.pixels)
        found = [face.box for face in detector.detect(photo)]
        faces += found
        owners += [number] * len(found)
    sizes = [pixels.size for pixels in photos]
    return Material(
        np.concatenate([pixels.ravel() for pixels in photos]),
        np.cumsum([0, *sizes[:-1]]),
        np.array([pixels.shape[:2] for pixels in photos]),
        np.array(faces, np.float32).reshape(-1, 4),
        np.array(owners, np.int64),
        np.stack(plain),
    )


def keep(material: Material, folder: Path) -> None:
    """Write it where `recall` finds it; what lay there is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / _PIXELS, material.pixels)
    np.savez(
        folder / _TABLE,
        starts=material.starts,
        shapes=material.shapes,
        faces=material.faces,
        owners=material.owners,
        plain=material.plain,
    )


def recall(folder: Path) -> Material:
    """What `keep` wrote; the pixels stay in their file, so that processes share them.

    Raises:
        InputError: there is nothing there.
    """
    try:
        pixels = np.load(folder / _PIXELS, mmap_mode="r")
        with np.load(folder / _TABLE) as table:
            return Material(pixels, **table)
    except FileNotFoundError as error:
        raise InputError(f"{folder}: no material; make it with: prepare --work {folder}") from error


def hold_out(people: Sequence[str], count: int, seed: int) -> list[str]:
    """The people, by name, whom training never sees; `count` of them, drawn by the seed."""
    order = np.random.default_rng(seed).permutation(len(people))
    return sorted(sorted(people)[int(number)] for number in order[:count])
