"""Photos that people do bring: tiny, cut, covered, drawn, huge; what is found, and who.

Claim: none of them stops anything, and quality says which are hopeless. Method: 500 probes of LFW
whose person has another photo, each changed by where YuNet sees its face; found is a face whose box
meets that one (intersection over union of at least 0.3); rank-1 among the first photos of all 5,749
people, of all probes, found or not. Photos without any face come last: what is found there is
false.

    python scripts/evaluate_hard_photos.py
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

import click
import cv2
import numpy as np
from command import Script
from measuring import DETECTOR, RESULTS, SHARED, circumstances, finish, rounded, table
from numpy.typing import NDArray

from facedb.detections import overlaps
from facedb.encoder import Encoder, open_encoder
from facedb.faces import Detector, YuNet, open_detector
from facedb.photos import load_photo, photo_from_array
from facedb.pipeline import encode_photo, encode_photos
from facedb.types import Face, Pixels

Box = NDArray[np.float64]
Changed = tuple[Pixels, Box]
"""A photo, and where its face is now: x, y, width, height."""


def resized(pixels: Pixels, face: Face, factor: float) -> Changed:
    size = [max(1, round(side * factor)) for side in pixels.shape[1::-1]]
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    small = np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)
    return small, np.array(face.box) * factor


def width_of(pixels: int) -> Callable[[Pixels, Face], Changed]:
    return lambda photo, face: resized(photo, face, pixels / face.box[2])


def megapixels(pixels: Pixels, face: Face) -> Changed:
    return resized(pixels, face, float(np.sqrt(20e6 / (pixels.shape[0] * pixels.shape[1]))))


def cut(share: float) -> Callable[[Pixels, Face], Changed]:
    """So much of the face's width lies beyond the photo's left border."""

    def change(pixels: Pixels, face: Face) -> Changed:
        x, y, width, height = face.box
        left = max(0, round(x + share * width))
        box = np.array([max(0.0, x - left), y, width - max(0.0, left - x), height])
        return np.ascontiguousarray(pixels[:, left:]), box

    return change


def grey(pixels: Pixels, face: Face) -> Changed:
    plain = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return np.repeat(plain[..., None], 3, axis=2).astype(np.uint8), np.array(face.box)


def sunglasses(pixels: Pixels, face: Face) -> Changed:
    worn = pixels.copy()
    eyes = face.landmarks[:2]
    apart = float(np.linalg.norm(eyes[1] - eyes[0]))
    for x, y in eyes:
        centre, axes = (round(float(x)), round(float(y))), (round(0.42 * apart), round(0.3 * apart))
        cv2.ellipse(worn, centre, axes, 0, 0, 360, (15, 15, 18), -1)
    (a, b), (c, d) = np.rint(eyes).astype(int).tolist()
    cv2.line(worn, (a, b), (c, d), (15, 15, 18), max(1, round(0.08 * apart)))
    return worn, np.array(face.box)


def mask(pixels: Pixels, face: Face) -> Changed:
    """A surgical mask: from the nose down, to the box's sides and below its chin."""
    worn = pixels.copy()
    x, y, width, height = face.box
    nose = float(face.landmarks[2, 1])
    points = np.array(
        [[x, nose - 0.05 * height], [x + width / 2, nose - 0.1 * height],
         [x + width, nose - 0.05 * height], [x + 0.85 * width, y + height],
         [x + width / 2, y + 1.06 * height], [x + 0.15 * width, y + height]]
    )  # fmt: skip
    cv2.fillPoly(worn, [np.rint(points).astype(np.int32)], (170, 200, 215))
    return worn, np.array(face.box)


def drawing(pixels: Pixels, face: Face) -> Changed:
    pencil, _ = cv2.pencilSketch(
        np.ascontiguousarray(pixels[:, :, ::-1]), sigma_s=60, sigma_r=0.07, shade_factor=0.05
    )
    return np.repeat(pencil[..., None], 3, axis=2).astype(np.uint8), np.array(face.box)


CHANGES: dict[str, Callable[[Pixels, Face], Changed]] = {
    "as it is": lambda pixels, face: (pixels, np.array(face.box)),
    "grey": grey,
    "20 megapixels": megapixels,
    "face 32 px wide": width_of(32),
    "face 20 px wide": width_of(20),
    "face 12 px wide": width_of(12),
    "a quarter beyond the border": cut(0.25),
    "half beyond the border": cut(0.5),
    "sunglasses": sunglasses,
    "mask": mask,
    "pencil drawing": drawing,
}


def empty(count: int) -> dict[str, list[Pixels]]:
    """Photos without a face: of one colour, of noise, of a slope of light."""
    rng = np.random.default_rng(1)
    line = np.linspace(0, 1, 250)[None, :, None]
    colours = rng.integers(0, 256, (count, 2, 1, 1, 3))
    return {
        "one colour": [np.broadcast_to(c[0], (250, 250, 3)).astype(np.uint8) for c in colours],
        "noise": [rng.integers(0, 256, (250, 250, 3)).astype(np.uint8) for _ in range(count)],
        "slope": [
            np.broadcast_to(c[0] * line + c[1] * (1 - line), (250, 250, 3)).astype(np.uint8)
            for c in colours
        ],
    }


def meets(face: Face, box: Box) -> bool:
    """Intersection over union of at least 0.3."""
    return bool(overlaps(np.array(face.box), box[None])[0] >= 0.3)


@dataclass(frozen=True)
class Bench:
    """What looks, and who is enrolled."""

    detector: Detector
    yunet: Detector
    encoder: Encoder
    names: NDArray[np.str_]
    gallery: NDArray[np.float32]

    def look(self, path: Path, change: Callable[[Pixels, Face], Changed]) -> dict[str, float]:
        photo = load_photo(str(path))
        pixels, box = change(photo.pixels, self.yunet.detect(photo)[0])
        changed = photo_from_array(pixels)
        encoded = encode_photo(changed, self.detector, self.encoder, "all")
        rows = [row for row, face in enumerate(encoded.faces) if meets(face, box)]
        right = poor = False
        if rows:
            best = self.gallery @ encoded.embeddings[rows[0]]
            right = bool(self.names[best.argmax()] == path.parent.name)
            poor = bool(encoded.qualities) and encoded.qualities[rows[0]].poor
        seen = any(meets(face, box) for face in self.yunet.detect(changed))
        return {"found": bool(rows), "yunet": seen, "rank_1": right, "poor": poor}

    def row(self, probes: Sequence[Path], name: str) -> dict[str, Any]:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            jobs = pool.map(lambda path: self.look(path, CHANGES[name]), probes)
            with click.progressbar(jobs, length=len(probes), label=name) as bar:
                seen = list(bar)
        found = max(1, sum(bool(one["found"]) for one in seen))
        return {
            "photos": len(seen),
            "found": rounded(float(np.mean([one["found"] for one in seen]))),
            "found_by_yunet": rounded(float(np.mean([one["yunet"] for one in seen]))),
            "rank_1": rounded(float(np.mean([one["rank_1"] for one in seen]))),
            "poor_of_found": rounded(sum(one["poor"] for one in seen) / found),
        }


@click.command(cls=Script, help=__doc__)
@click.option("--lfw", type=click.Path(path_type=Path), default=SHARED / "data/lfw/images")
@click.option("--yunet", type=click.Path(path_type=Path), default=DETECTOR)
@click.option("--detector", default="bundled", show_default=True)
@click.option("--probes", "count", default=500, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "hard-photos.json")
def main(lfw: Path, yunet: Path, detector: str, count: int, out: Path) -> None:
    begun, found, encoder = circumstances(0), open_detector(detector), open_encoder("bundled")
    photos = [sorted(person.glob("*.webp")) for person in sorted(lfw.iterdir()) if person.is_dir()]
    firsts = [(own[0].parent.name, str(own[0])) for own in photos]
    encoded = encode_photos([path for _, path in firsts], found, encoder)
    kept = [
        (name, one.embeddings[0])
        for (name, _), one in zip(firsts, encoded, strict=True)
        if one.faces
    ]
    names, gallery = np.array([name for name, _ in kept]), np.stack([row for _, row in kept])
    bench = Bench(found, YuNet(yunet), encoder, names, gallery)
    rest = [photo for own in photos for photo in own[1:]]
    order = np.random.default_rng(0).permutation(len(rest))[:count]
    probes = [
        rest[row]
        for row in sorted(order.tolist())
        if bench.yunet.detect(load_photo(str(rest[row])))
    ]
    rows = {name: bench.row(probes, name) for name in CHANGES}
    without = {
        name: {
            "photos": len(some),
            "faces": sum(len(found.detect(photo_from_array(one))) for one in some),
            "faces_by_yunet": sum(len(bench.yunet.detect(photo_from_array(one))) for one in some),
        }
        for name, some in empty(100).items()
    }
    lines: list[tuple[object, ...]] = [("", "found", "by YuNet", "rank-1", "poor")]
    lines += [
        (name, *(f"{100 * row[key]:.1f}" for key in list(row)[1:])) for name, row in rows.items()
    ]
    table("% of photos; poor: of those found", lines)
    made_by = {"encoder": encoder.fingerprint, "detector": found.fingerprint}
    finish(begun | made_by | {"photos": rows, "without_faces": without}, [], out)


if __name__ == "__main__":
    main()
