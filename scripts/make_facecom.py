"""Build the FACECOM layout: each listed LFW photo, and distorted versions of it beside.

    OUT/train/PERSON/PHOTO.jpg
    OUT/train/PERSON/distortion/PHOTO_KIND.jpg      and the same under OUT/val

The originals are those of FACECOM (shared/data/facecom/*.txt); the distortions are our own, of
facedb/training/distortions.py, about as strong. Interrupted, the same command goes on where it
was. The same options give the same bytes, whatever the number of processes; OUT/train.json and
OUT/val.json say which options those were.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

import click
import cv2
import numpy as np
from command import Script
from measuring import SHARED
from PIL import Image

from facedb.errors import FacedbError
from facedb.photos import load_photo
from facedb.training.distortions import DEFAULT_SEVERITY, KINDS, LEVELS, distort
from facedb.types import Pixels

QUALITY = 95
END_OF_JPEG = b"\xff\xd9"


@dataclass(frozen=True)
class Layout:
    """Where one list's photos come from, where they go, and what is made of them."""

    photos: Path
    out: Path
    size: int
    drawn: int
    severity: int
    seed: int

    def options(self) -> dict[str, object]:
        """What the bytes hang on."""
        return {
            "size": self.size,
            "drawn": self.drawn,
            "severity": self.severity,
            "levels": {kind: LEVELS[kind][self.severity - 1] for kind in KINDS},
            "seed": self.seed,
            "quality": QUALITY,
        }

    def source(self, photo: str) -> Path:
        return self.photos / f"{photo}.webp"


def make_photo(layout: Layout, photo: str) -> int:
    """Write what is not there yet of one photo, `Person/Person_0001`; how many files that was."""
    seed = zlib.crc32(f"{layout.seed} {photo}".encode())
    person, stem = photo.split("/")
    files: dict[str | None, Path] = {None: layout.out / person / f"{stem}.jpg"}
    for kind in np.random.default_rng(seed).permutation(KINDS)[: layout.drawn].tolist():
        files[kind] = layout.out / person / "distortion" / f"{stem}_{kind}.jpg"
    missing = {kind: file for kind, file in files.items() if not whole(file)}
    if missing:
        clean = resized(load_photo(layout.source(photo)).pixels, layout.size)
        for kind, file in missing.items():
            write(clean if kind is None else distort(clean, kind, layout.severity, seed), file)
    return len(missing)


def resized(pixels: Pixels, size: int) -> Pixels:
    """With the longer side brought to this many pixels."""
    height, width = pixels.shape[:2]
    scale = size / max(height, width)
    if scale == 1:
        return pixels
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    target = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, target, interpolation=how), np.uint8)


def whole(file: Path) -> bool:
    """Whether a JPEG is there to its end."""
    try:
        with file.open("rb") as stream:
            return stream.seek(0, os.SEEK_END) > 2 and ends_as_jpeg(stream.fileno())
    except FileNotFoundError:
        return False


def ends_as_jpeg(descriptor: int) -> bool:
    return os.pread(descriptor, 2, os.fstat(descriptor).st_size - 2) == END_OF_JPEG


def write(pixels: Pixels, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp")
    Image.fromarray(pixels).save(temporary, "JPEG", quality=QUALITY)
    temporary.replace(file)


def listed(file: Path, layout: Layout) -> list[str]:
    """The photos a list names, all of which are there."""
    if not file.is_file():
        raise click.ClickException(f"{file}: no such list; --shared names the folder of the data")
    photos = file.read_text().split()
    odd = [photo for photo in photos if photo.count("/") != 1 or ".." in photo]
    if odd or not photos:
        raise click.ClickException(
            f"{file}: {odd[0] if odd else 'empty'}: lines are Person/Person_0001"
        )
    missing = [layout.source(photo) for photo in photos if not layout.source(photo).is_file()]
    if missing:
        raise click.ClickException(
            f"{missing[0]}: no such photo; of the {len(photos)} that {file} names, "
            f"{len(missing)} are missing"
        )
    return photos


def claim(layout: Layout) -> None:
    """Say beside the folder how it is made; refuse one that is made otherwise."""
    record = layout.out.with_name(f"{layout.out.name}.json")
    text = json.dumps(layout.options(), indent=1) + "\n"
    if record.exists() and record.read_text() != text:
        raise click.ClickException(
            f"{record}: {layout.out} was begun with other options; choose another --out, or "
            "remove both"
        )
    if not record.exists() and layout.out.exists() and any(layout.out.iterdir()):
        raise click.ClickException(
            f"{layout.out}: holds files that this script has no record of; choose another --out"
        )
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(text)


def build(layout: Layout, photos: list[str], jobs: int) -> int:
    """How many files were written."""
    make = partial(make_photo, layout)
    if jobs == 1:
        return sum(shown(map(make, photos), len(photos), layout.out.name))
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        return sum(shown(pool.map(make, photos, chunksize=8), len(photos), layout.out.name))


def shown(counts: Iterable[int], length: int, label: str) -> list[int]:
    with click.progressbar(counts, length=length, label=label, file=sys.stderr) as bar:
        return list(bar)


@click.command(cls=Script, help=__doc__)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to fill.")
@click.option("--shared", default=SHARED, type=click.Path(path_type=Path), help="Where data/ lies.")
@click.option("--list", "lists", multiple=True, default=("train", "val"), show_default=True)
@click.option("--size", default=250, show_default=True, type=click.IntRange(16, 4096))
@click.option(
    "--drawn",
    default=len(KINDS),
    show_default=True,
    type=click.IntRange(0, len(KINDS)),
    help="How many of the kinds each photo gets, drawn with the seed.",
)
@click.option("--severity", default=DEFAULT_SEVERITY, show_default=True, type=click.IntRange(1, 5))
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
@click.option("--jobs", default=os.cpu_count(), show_default="cores", type=click.IntRange(1))
def main(
    out: Path, shared: Path, lists: tuple[str, ...], size: int, drawn: int, severity: int,
    seed: int, jobs: int,
) -> None:  # fmt: skip
    data = shared / "data"
    plans = []
    for name in lists:
        layout = Layout(data / "lfw" / "images", out / name, size, drawn, severity, seed)
        plans.append((layout, listed(data / "facecom" / f"{name}.txt", layout)))
    try:
        for layout, photos in plans:
            claim(layout)
            written = build(layout, photos, jobs)
            click.echo(f"{layout.out}: {len(photos)} photos, {written} files written")
    except (FacedbError, OSError, BrokenProcessPool) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
