"""How strong the seven distortions are, beside what is known of FACECOM's; and what they cost.

Claim: at the default severity, a face encoder suffers from each kind about as much as from its
counterpart in FACECOM. Method: each photo of FACECOM's val list is distorted whole, then aligned
by the landmarks that were found on the clean photo, so that the detector's failures don't enter;
the cosine of its embedding to the mean of its person's clean ones is averaged over photos. The
targets are published for another encoder (a FaceNet on whole photos), whose clean photos we don't
know; the clean row is this encoder's ceiling. Draws docs/distortions.png of a sample person, who
does not exist.
"""

from __future__ import annotations

import os
import statistics
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

import click
import cv2
import numpy as np
from command import Script
from measuring import DETECTOR, RESULTS, ROOT, SHARED, circumstances, finish, rounded, spread, table
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from facedb.faces import align, open_detector
from facedb.photos import load_photo
from facedb.runtime import open_session
from facedb.training.distortions import DEFAULT_SEVERITY, KINDS, LEVELS, SEVERITIES, distort
from facedb.types import Embeddings, Pixels

TARGETS = {
    "resized": 0.93, "blurred": 0.86, "lowlight": 0.86, "foggy": 0.74, "noisy": 0.68,
    "rainy": 0.61, "sunny": 0.11,
}  # fmt: skip
TEACHER = "insightface_y1_mobilefacenet_128.onnx"
SAMPLE = ROOT / "data" / "train" / "Mira_Solene" / "01.jpg"
RESAMPLES = 2000
BATCH = 64
TILE, LABEL = 120, 64

Row = dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """A photo that shows a face, and whose it is."""

    name: str
    pixels: Pixels
    landmarks: NDArray[np.float32]

    @property
    def person(self) -> str:
        return self.name.split("/")[0]

    def crop(self, kind: str, severity: int, seed: int) -> Pixels:
        number = zlib.crc32(f"{seed} {self.name}".encode())
        return align(distort(self.pixels, kind, severity, number), self.landmarks)


class Teacher:
    """The face encoder that measures: RGB 0..255 of 112x112 -> unit rows."""

    def __init__(self, file: Path) -> None:
        self._session = open_session(str(file))
        self._input = self._session.get_inputs()[0].name

    def embed(self, crops: list[Pixels]) -> Embeddings:
        rows = [self._rows(crops[at : at + BATCH]) for at in range(0, len(crops), BATCH)]
        return lengths_of_one(np.concatenate(rows))

    def _rows(self, crops: list[Pixels]) -> Embeddings:
        planes = np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32)
        return np.asarray(self._session.run(None, {self._input: planes})[0])


def lengths_of_one(rows: Embeddings) -> Embeddings:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def read_photos(shared: Path, limit: int | None) -> tuple[list[Shown], list[str]]:
    """The photos of the val list that show a face, and the names of those that show none."""
    detector = open_detector(str(shared / "models" / DETECTOR.name))
    photos, without = [], []
    for name in (shared / "data" / "facecom" / "val.txt").read_text().split()[:limit]:
        photo = load_photo(shared / "data" / "lfw" / "images" / f"{name}.webp")
        faces = detector.detect(photo)
        if faces:
            photos.append(Shown(name, photo.pixels, faces[0].landmarks))
        else:
            without.append(name)
    return photos, without


def means_of_people(clean: Embeddings, people: NDArray[np.str_]) -> Embeddings:
    """For each photo, the direction of the mean of its person's clean embeddings."""
    _, numbers = np.unique(people, return_inverse=True)
    sums = np.zeros((numbers.max() + 1, clean.shape[1]), np.float32)
    np.add.at(sums, numbers, clean)
    return lengths_of_one(sums)[numbers]


def interval(
    values: NDArray[np.float64], people: NDArray[np.str_], random: np.random.Generator
) -> list[float]:
    """95 % of the means when people are drawn anew, with all their photos (percentiles)."""
    _, numbers = np.unique(people, return_inverse=True)
    sums, counts = np.bincount(numbers, values), np.bincount(numbers)
    drawn = random.integers(len(counts), size=(RESAMPLES, len(counts)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return [rounded(float(edge)) for edge in np.quantile(means, [0.025, 0.975])]


def cosines(
    photos: list[Shown], teacher: Teacher, means: Embeddings, crop: Callable[[Shown], Pixels]
) -> NDArray[np.float64]:
    embedded = teacher.embed([crop(photo) for photo in photos])
    return np.einsum("nd,nd->n", embedded.astype(np.float64), means)


def summary(values: NDArray[np.float64], people: NDArray[np.str_], seed: int) -> Row:
    return {
        "mean": rounded(float(values.mean())),
        "interval_95": interval(values, people, np.random.default_rng(seed)),
        "standard_deviation": rounded(float(values.std(ddof=1))),
        **{f"quartile_{part}": rounded(float(np.quantile(values, part / 4))) for part in (1, 2, 3)},
    }


def measure(photos: list[Shown], teacher: Teacher, seed: int) -> Iterator[Row]:
    """A row for the clean photos, then one for every kind and severity."""
    people = np.array([photo.person for photo in photos])
    clean = teacher.embed([align(photo.pixels, photo.landmarks) for photo in photos])
    means = means_of_people(clean, people)
    own = np.einsum("nd,nd->n", clean.astype(np.float64), means)
    yield {"kind": "clean", "severity": 0} | summary(own, people, seed)
    for kind in KINDS:
        for severity in SEVERITIES:
            found = cosines(
                photos, teacher, means, lambda photo: photo.crop(kind, severity, seed)  # noqa: B023
            )  # fmt: skip
            row = {"kind": kind, "severity": severity, "level": LEVELS[kind][severity - 1]}
            if severity == DEFAULT_SEVERITY:
                row["target"] = TARGETS[kind]
            yield row | summary(found, people, seed)


def times(sides: tuple[int, ...], turns: int) -> list[Row]:
    """Milliseconds of a call at the default severity, one thread, a sample photo."""
    whole = load_photo(SAMPLE).pixels
    rows = []
    for side in sides:
        pixels = np.asarray(cv2.resize(whole, (side, side)), np.uint8)
        for kind in KINDS:
            rows.append({"kind": kind, "side": side} | spread(calls(pixels, kind, turns)))
    return rows


def calls(pixels: Pixels, kind: str, turns: int) -> list[float]:
    taken = []
    for turn in range(turns + 1):
        begun = time.perf_counter()
        distort(pixels, kind, seed=turn)
        taken.append((time.perf_counter() - begun) * 1e3)
    return taken[1:]


def sheet(file: Path) -> None:
    """Kinds down, severities across, of a sample person who does not exist; the clean one first."""
    photo = np.asarray(Image.open(SAMPLE).convert("RGB"))
    page = Image.new("RGB", (LABEL + TILE * 6, 20 + TILE * len(KINDS)), "white")
    pen = ImageDraw.Draw(page)
    for column, title in enumerate(("clean", *(f"severity {level}" for level in SEVERITIES))):
        pen.text((LABEL + TILE * column + 6, 4), title, fill="black")
    for line, kind in enumerate(KINDS):
        pen.text((4, 20 + TILE * line + TILE // 2), kind, fill="black")
        versions = [photo, *(distort(photo, kind, level, 1) for level in SEVERITIES)]
        for column, version in enumerate(versions):
            tile = Image.fromarray(version).resize((TILE, TILE), Image.Resampling.LANCZOS)
            page.paste(tile, (LABEL + TILE * column, 20 + TILE * line))
    page.save(file, optimize=True)


def show(rows: list[Row]) -> None:
    clean, *others = rows
    head = ("", "target", *(f"severity {severity}" for severity in SEVERITIES))
    body = [
        (kind, TARGETS[kind], *(row["mean"] for row in others if row["kind"] == kind))
        for kind in TARGETS
    ]
    table(f"mean cosine to the person's clean mean; clean photos {clean['mean']}", [head, *body])


def settled(rows: list[Row]) -> dict[str, Any]:
    """Whether the default keeps the targets' order, and how far it lies from each."""
    found = {row["kind"]: row["mean"] for row in rows if row["severity"] == DEFAULT_SEVERITY}
    return {
        "order_as_targets": sorted(found, key=found.__getitem__, reverse=True)
        == sorted(TARGETS, key=TARGETS.__getitem__, reverse=True),
        "largest_difference": rounded(max(abs(found[kind] - TARGETS[kind]) for kind in KINDS)),
        "falls_with_severity": all(
            all(np.diff([row["mean"] for row in rows if row["kind"] == kind]) < 0) for kind in KINDS
        ),
    }


@click.command(cls=Script, help=__doc__)
@click.option("--shared", default=SHARED, type=click.Path(path_type=Path))
@click.option("--json", "file", default=RESULTS / "distortions.json", type=click.Path(path_type=Path))  # fmt: skip  # noqa: E501
@click.option("--sheet", "picture", default=ROOT / "docs" / "distortions.png", type=click.Path(path_type=Path))  # fmt: skip  # noqa: E501
@click.option("--limit", type=int, help="Only the first photos of the list, for a trial.")
@click.option("--seed", default=1, show_default=True)
@click.option("--turns", default=200, show_default=True, help="Timed calls of each kind.")
def main(shared: Path, file: Path, picture: Path, limit: int | None, seed: int, turns: int) -> None:
    result = circumstances(seed)
    sheet(picture)
    result["milliseconds"] = times((112, 250), turns)
    photos, without = read_photos(shared, limit)
    with click.progressbar(
        measure(photos, Teacher(shared / "models" / TEACHER), seed),
        length=1 + len(KINDS) * len(SEVERITIES),
        label="measuring",
    ) as bar:
        rows = list(bar)
    show(rows)
    result |= {
        "photos": len(photos),
        "people": len({photo.person for photo in photos}),
        "without_a_face": without,
        "encoder": TEACHER,
        "default_severity": DEFAULT_SEVERITY,
        "settled": settled(rows),
        "cosines": rows,
        "median_ms_112": {
            row["kind"]: row["median"] for row in result["milliseconds"] if row["side"] == 112
        },
    }
    medians = statistics.fmean(result["median_ms_112"].values())
    click.echo(f"\n{medians:.2f} ms a call at 112 pixels, mean of the kinds")
    finish(result, [], file)


if __name__ == "__main__":
    main()
