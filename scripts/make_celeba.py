"""Build the training folder of the bundled encoder out of CelebA: a folder per person.

    OUT/train/ID/*.webp     crops of 160 pixels, the ArcFace template in the middle 112
    OUT/val/ID/*.webp       people of crops160 who are held out, drawn by --seed

Photos of CelebA's own aligned release, at half size, are brought to the same geometry: by YuNet's
landmarks, or by their medians where it finds no face. People who resemble one of LFW are left out.

    python scripts/make_celeba.py --out runs/celeba
    facedb train runs/celeba --recipe best --detector none --teacher TEACHER.onnx --out runs/best
"""

from __future__ import annotations

import csv
import hashlib
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

import click
import cv2
import numpy as np
from command import Script
from measuring import DETECTOR, SHARED
from numpy.typing import NDArray
from PIL import Image

from facedb.alignment import TEMPLATE, similarity
from facedb.faces import YuNet
from facedb.photos import load_photo, photo_from_array
from facedb.types import Pixels

WIDE, MARGIN = 160, 24
ZOOM = 3
"""The small photos are enlarged for the detector, which needs faces of some size."""
FAR = 12.0
"""Pixels from the median landmarks beyond which a find is not believed."""


def photos_of(folder: Path, dropped: set[str]) -> list[Path]:
    """Photos of a folder per person, without the people dropped."""
    if not folder.is_dir():
        raise click.ClickException(f"{folder}: not there; --shared names the folder of data/celeba")
    return [path for path in sorted(folder.glob("*/*.webp")) if path.parent.name not in dropped]


def landmarks(pixels: Pixels, detector: YuNet) -> NDArray[np.float64] | None:
    """float64[5, 2] of the face that counts, or None."""
    size = pixels.shape[1] * ZOOM, pixels.shape[0] * ZOOM
    large = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    faces = detector.detect(photo_from_array(large))
    return (faces[0].landmarks.astype(np.float64) + 0.5) / ZOOM - 0.5 if faces else None


def aligned(pixels: Pixels, points: NDArray[np.float64]) -> Pixels:
    """uint8[160, 160, 3]: the landmarks on the template in the middle."""
    matrix = similarity(points, TEMPLATE + MARGIN)
    return np.asarray(
        cv2.warpAffine(
            pixels, matrix, (WIDE, WIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        ),
        np.uint8,
    )


def bring(paths: Sequence[Path], out: Path, detector: YuNet) -> int:
    """Align small photos and write them; how many went by the median landmarks."""
    pictures = [load_photo(path).pixels for path in paths]
    with click.progressbar(pictures, label="aligning", file=sys.stderr) as bar:
        found = [landmarks(pixels, detector) for pixels in bar]
    usual = np.median([points for points in found if points is not None], axis=0)
    by_median = 0
    for path, pixels, points in zip(paths, pictures, found, strict=True):
        if points is None or np.abs(points - usual).max() > FAR:
            points, by_median = usual, by_median + 1
        write(out / path.parent.name / path.name, aligned(pixels, points))
    return by_median


def write(file: Path, pixels: Pixels) -> None:
    """A lossless WebP, whole or not there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    Image.fromarray(pixels).save(part, "WEBP", lossless=True, quality=0)
    part.replace(file)


@click.command(cls=Script)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to build.")
@click.option("--shared", type=click.Path(path_type=Path), default=SHARED)
@click.option("--detector", type=click.Path(path_type=Path), default=DETECTOR, help="YuNet.")
@click.option("--held-out", default=40, show_default=True, help="People of crops160 for val.")
@click.option("--seed", default=1, show_default=True)
def main(out: Path, shared: Path, detector: Path, held_out: int, seed: int) -> None:
    """Build OUT/train and OUT/val."""
    if out.is_dir() and any(out.iterdir()):
        raise click.ClickException(
            f"{out}: not empty, and people of both parts would be mixed; name another --out"
        )
    celeba = shared / "data" / "celeba"
    large = photos_of(celeba / "crops160", overlap(celeba / "lfw_overlap.csv"))
    small = photos_of(celeba / "small89x109", overlap(celeba / "lfw_overlap.csv"))
    people = sorted({path.parent.name for path in large})
    held = set(random.Random(seed).sample(people, held_out))
    names = {path.name for path in large}
    kept: set[bytes] = set()
    for path in sorted(large, key=lambda path: path.parent.name not in held):
        part = "val" if path.parent.name in held else "train"
        pixels = load_photo(path).pixels
        digest = hashlib.sha256(pixels).digest()
        if digest not in kept:  # CelebA has photos under two names
            write(out / part / path.parent.name / path.name, pixels)
        kept.add(digest)
    rest = [path for path in small if path.name not in names and path.parent.name not in held]
    by_median = bring(rest, out / "train", YuNet(detector))
    click.echo(
        f"{out}: {len(large)} crops of {len(people)} people, {held_out} of them held out; "
        f"{len(rest)} small photos, {by_median} by the median landmarks"
    )


def overlap(file: Path) -> set[str]:
    """The people of CelebA who resemble one of LFW."""
    if not file.is_file():
        raise click.ClickException(f"{file}: not there; without it LFW could not be reported on")
    with file.open(encoding="utf-8") as stream:
        return {row["celeba_id"] for row in csv.DictReader(stream)}


if __name__ == "__main__":
    main()
