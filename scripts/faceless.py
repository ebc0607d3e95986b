"""Photos without faces, on which a detector should find none."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from measuring import rounded
from numpy.typing import NDArray
from PIL import Image

from facedb.faces import ScalePolicy, YuNet
from facedb.photos import load_photo, photo_from_array
from facedb.types import Photo, Pixels

SIDE, PIECES_PER_PHOTO = 250, 2
LEAST_DOUBT = 0.3


def cifar(archive: Path, split: str, digits: str = "0") -> list[Pixels]:
    """The pictures of a split, uint8[32, 32, 3], whose numbers end in one of the digits."""
    wanted = tuple(f"{digit}.jpg" for digit in digits)
    pictures: list[Pixels] = []
    with tarfile.open(archive, "r|xz") as members:
        for member in members:
            file = None
            if member.name.startswith(f"{split}/") and member.name.endswith(wanted):
                file = members.extractfile(member)
            if file is not None:
                pictures.append(np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")))
    return pictures


def mosaics(pictures: list[Pixels], seed: int) -> list[Photo]:
    """Pictures of 32 pixels in photos of 250: alone, and 2x2, 4x4 and 8x8."""
    random = np.random.default_rng(seed)
    photos: list[Photo] = []
    for grid, count in ((1, 200), (2, 100), (4, 100), (8, 100)):
        for _ in range(count):
            tiles = random.integers(len(pictures), size=(grid, grid))
            rows = [np.hstack([pictures[int(number)] for number in row]) for row in tiles]
            photos.append(photo_from_array(_enlarged(np.vstack(rows))))
    return photos


def _enlarged(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)


def pieces(files: Iterable[Path], yunet: Path, seed: int) -> list[Photo]:
    """Square pieces of photos, of a third of their longer side or more, that touch no face."""
    random = np.random.default_rng(seed)
    detector = YuNet(yunet, ScalePolicy(sides=(160, 480), least_side=480, threshold=LEAST_DOUBT))
    found: list[Photo] = []
    for file in files:
        photo = load_photo(file)
        boxes = np.array([face.box for face in detector.detect(photo)]).reshape(-1, 4)
        tries = (_piece(photo.pixels, boxes, random) for _ in range(30))
        squares = islice((square for square in tries if square is not None), PIECES_PER_PHOTO)
        found += [photo_from_array(square) for square in squares]
    return found


def false_faces(detector: YuNet, bare: dict[str, list[Photo]]) -> dict[str, float]:
    """What it finds on 100 photos without faces, of each kind."""
    return {
        kind: rounded(100 * float(np.mean([len(detector.detect(photo)) for photo in photos])))
        for kind, photos in bare.items()
    }


def _piece(
    pixels: Pixels, boxes: NDArray[np.float64], random: np.random.Generator
) -> Pixels | None:
    """A square somewhere; None where it touches a box."""
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    side = int(random.uniform(min(shorter, max(height, width) / 3), shorter))
    if side < 32:
        return None
    left, top = int(random.integers(width - side + 1)), int(random.integers(height - side + 1))
    low, high = np.array([left, top]), np.array([left, top]) + side
    apart = (boxes[:, :2] >= high) | (boxes[:, :2] + boxes[:, 2:] <= low)
    if not apart.any(axis=1).all():
        return None
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])
