"""At which sizes should the detector look at a photo? Measures the answer.

Claim: over a photo decoded to at least 1600 pixels, two passes, at 480 and at 1280 on the long
side, find small faces and huge ones, and 4000x3000 stays within 165 ms of one core with the
decoding; a 250x250 photo is best looked at as it is, and a noisy one once more, reduced.

Faces are of LFW's development people (peopleDevTrain), one to a photo; their reference is the
median of three detections, at 200, 250 and 300 pixels. Canvases are 4000x3000 JPEG files (quality
90): LFW faces of one height pasted in a grid over a mosaic of CIFAR-10 pictures. A face counts as
found where a detection overlaps its reference by half (intersection over union), a detection as
extra where it is nobody's. The landmark error is the mean distance to the reference over the
distance between the eyes. Times are process time, medians, the crops included.

    python scripts/bench_detection.py --detector ../shared/models/face_detection_yunet_2026may.onnx
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from command import Script
from measuring import circumstances
from numpy.typing import NDArray
from PIL import Image

from facedb.faces import ScalePolicy, YuNet
from facedb.photos import load_photo, photo_from_array
from facedb.types import Face, Photo, Pixels

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
import cv2

CANVAS = (4000, 3000)
HEIGHTS = (24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2000, 2400)
NATIVE = (128, 160, 192, 224, 250, 320)
LEAST = (0, 112, 160, 224, 320)
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
RESCUES: tuple[tuple[int, ...], ...] = ((), (128,), (96,), (160, 96))
SIDES: tuple[tuple[int, ...], ...] = (
    (480,), (640,), (1024,), (1280,), (1600,), (320, 1280), (480, 1280), (640, 1280), (480, 1600),
    (480, 2000),
)  # fmt: skip
DETAILS = (1000, 1600)
MOST_FACES = 30


@dataclass(frozen=True)
class Truth:
    """A face whose place is known: box float64[4] (x, y, width, height), landmarks [5, 2]."""

    box: NDArray[np.float64]
    landmarks: NDArray[np.float64]

    def moved(self, scale: float, left: float, top: float) -> Truth:
        box = np.concatenate([self.box[:2] * scale + (left, top), self.box[2:] * scale])
        return Truth(box, self.landmarks * scale + (left, top))


@dataclass(frozen=True)
class Scene:
    """A photo and the faces that are in it, in pixels of the full size."""

    photo: Photo
    truths: list[Truth]


@dataclass
class Tally:
    """What a detector did over some scenes."""

    faces: int = 0
    extra: int = 0
    errors: list[float] = field(default_factory=list[float])
    times: list[float] = field(default_factory=list[float])

    def add(self, faces: list[Face], truths: list[Truth], ms: float) -> None:
        errors = [error for truth in truths if (error := landmark_error(truth, faces)) is not None]
        self.faces += len(truths)
        self.extra += len(faces) - len(errors)
        self.errors += errors
        self.times.append(ms)

    def row(self) -> dict[str, Any]:
        return {
            "photos": len(self.times),
            "faces": self.faces,
            "found": round(len(self.errors) / self.faces, 4) if self.faces else None,
            "extra": self.extra,
            "landmark_error_median": percentile(self.errors, 50),
            "landmark_error_p95": percentile(self.errors, 95),
            "ms_median": percentile(self.times, 50),
            "ms_p90": percentile(self.times, 90),
        }


def percentile(values: list[float], share: float) -> float | None:
    return round(float(np.percentile(values, share)), 4) if values else None


def landmark_error(truth: Truth, faces: list[Face]) -> float | None:
    """Of the detection that overlaps this face most; None where it was not found."""
    best = max(faces, key=lambda face: overlap(truth.box, face.box), default=None)
    if best is None or overlap(truth.box, best.box) < 0.5:
        return None
    eyes = np.linalg.norm(truth.landmarks[1] - truth.landmarks[0])
    return float(np.linalg.norm(best.landmarks - truth.landmarks, axis=1).mean() / eyes)


def overlap(one: NDArray[np.float64], other: Sequence[float]) -> float:
    low = np.maximum(one[:2], other[:2])
    high = np.minimum(one[:2] + one[2:], np.add(other[:2], other[2:]))
    common = float(np.prod(np.maximum(high - low, 0)))
    return common / (float(one[2] * one[3] + other[2] * other[3]) - common)


def timed_ms(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    result = work()
    return result, (time.process_time() - started) * 1000


def measure(model: Path, policy: ScalePolicy, scenes: Sequence[Scene]) -> dict[str, Any]:
    detector, tally = YuNet(model, policy), Tally()
    detector.detect(scenes[0].photo)
    for scene in scenes:
        faces, ms = timed_ms(lambda photo=scene.photo: detector.detect(photo))
        tally.add(faces, scene.truths, ms)
    return tally.row()


def known_faces(model: Path, photos: list[Photo]) -> list[Scene]:
    """The photos on which three detections find one face each, with the median of the three."""
    policies = [ScalePolicy((side,), least_side=side) for side in (200, 250, 300)]
    detectors = [YuNet(model, policy) for policy in policies]
    scenes: list[Scene] = []
    for photo in photos:
        finds = [detector.detect(photo) for detector in detectors]
        if all(len(faces) == 1 for faces in finds):
            box = np.median([faces[0].box for faces in finds], axis=0)
            landmarks = np.median([faces[0].landmarks for faces in finds], axis=0)
            scenes.append(Scene(photo, [Truth(box, landmarks.astype(np.float64))]))
    return scenes


def development_files(shared: Path) -> list[Path]:
    """The photographs of LFW's peopleDevTrain."""
    lines = (shared / "data/lfw/peopleDevTrain.txt").read_text().splitlines()[1:]
    folders = [shared / "data/lfw/images" / line.split("\t")[0] for line in lines if line]
    return [file for folder in folders for file in sorted(folder.glob("*.webp"))]


def development_photos(shared: Path, count: int, seed: int) -> list[Photo]:
    files = development_files(shared)
    chosen = np.random.default_rng(seed).permutation(len(files))[:count]
    return [load_photo(files[int(index)]) for index in chosen]


def cifar(shared: Path, count: int) -> list[Pixels]:
    """Every tenth training picture, enlarged to 250x250."""
    pictures: list[Pixels] = []
    with tarfile.open(shared / "data/cifar10/cifar10_jpg.tar.xz", "r|xz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith("0.jpg") else None
            if file is not None:
                small = Image.open(io.BytesIO(file.read())).convert("RGB")
                pictures.append(np.asarray(small.resize((250, 250), Image.Resampling.BICUBIC)))
            if len(pictures) == count:
                break
    return pictures


def mosaic(pictures: list[Pixels], generator: np.random.Generator) -> Pixels:
    chosen = generator.permutation(len(pictures))[: 16 * 12].reshape(12, 16)
    rows = [np.concatenate([pictures[int(index)] for index in row], axis=1) for row in chosen]
    return np.concatenate(rows, axis=0)


def paste_group(canvas: Pixels, faces: Sequence[Scene], height: int) -> list[Truth]:
    """Paste faces of this box height, spread over a grid, as many as fit."""
    cell = int(height * 1.5)
    across, down = max(1, CANVAS[0] // cell), max(1, CANVAS[1] // cell)
    places = [(column, row) for row in range(down) for column in range(across)]
    places = places[:: max(1, len(places) // len(faces))]
    return [
        paste(canvas, face, height, (column * CANVAS[0] // across, row * CANVAS[1] // down))
        for (column, row), face in zip(places, faces, strict=False)
    ]


def paste(canvas: Pixels, face: Scene, height: int, corner: tuple[int, int]) -> Truth:
    cut = cut_out(face, height, margin=0.12)
    patch, (left, top) = cut.photo.pixels, corner
    room = canvas[top : top + patch.shape[0], left : left + patch.shape[1]]
    room[:] = patch[: room.shape[0], : room.shape[1]]
    return cut.truths[0].moved(1, left, top)


def cut_out(face: Scene, height: int, margin: float) -> Scene:
    """The face box with a margin (in shares of its sides), the box scaled to this height."""
    truth, pixels = face.truths[0], face.photo.pixels
    low = np.maximum(np.floor(truth.box[:2] - margin * truth.box[2:]), 0).astype(int)
    high = np.ceil(truth.box[:2] + (1 + margin) * truth.box[2:]).astype(int)
    patch = pixels[low[1] : high[1], low[0] : high[0]]
    scale = height / truth.box[3]
    moved = truth.moved(scale, -low[0] * scale, -low[1] * scale)
    return Scene(photo_from_array(resized(patch, scale)), [moved])


def resized(pixels: Pixels, scale: float) -> Pixels:
    size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)


@dataclass(frozen=True)
class Canvases:
    """JPEG files of group photos for each face height, and of mosaics without faces."""

    groups: dict[int, list[tuple[Path, list[Truth]]]]
    blank: list[Path]

    def scenes(self, height: int, detail: int) -> list[Scene]:
        return [Scene(load_photo(file, detail), truths) for file, truths in self.groups[height]]


def make_canvases(folder: Path, pictures: list[Pixels], known: list[Scene], faces: int) -> Canvases:
    generator = np.random.default_rng(len(known))
    blank = [save(mosaic(pictures, generator), folder / f"blank{i}.jpg") for i in range(24)]
    groups: dict[int, list[tuple[Path, list[Truth]]]] = {height: [] for height in HEIGHTS}
    for height, group in groups.items():
        while sum(len(truths) for _, truths in group) < faces:
            chosen = [known[int(i)] for i in generator.permutation(len(known))[:MOST_FACES]]
            canvas = mosaic(pictures, generator)
            truths = paste_group(canvas, chosen, height)
            group.append((save(canvas, folder / f"{height}_{len(group)}.jpg"), truths))
    return Canvases(groups, blank)


def save(pixels: Pixels, file: Path) -> Path:
    Image.fromarray(pixels).save(file, quality=90)
    return file


def as_they_are(model: Path, photos: list[Photo], known: list[Scene]) -> list[dict[str, Any]]:
    """250x250 photos, at each side: how many show a face at all, how exact the landmarks are."""
    rows: list[dict[str, Any]] = []
    for side in NATIVE:
        policy = ScalePolicy((side,), least_side=side)
        detector = YuNet(model, policy)
        share = np.mean([len(detector.detect(photo)) > 0 for photo in photos])
        rows.append({"side": side, "of": len(photos), "with_a_face": round(float(share), 4)})
        rows[-1] |= measure(model, policy, known)
    return rows


def small_photos(model: Path, known: list[Scene]) -> list[dict[str, Any]]:
    """Whole photos made small, and faces cut out tight, for each least side."""
    kinds = {f"whole photo at {side}": [shrunk(face, side) for face in known] for side in (48, 96)}
    for height in (112, 700):
        kinds[f"face box at {height}"] = [cut_out(face, height, margin=0.0) for face in known]
    return [
        {"photo": kind, "least_side": least} | measure(model, ScalePolicy(least_side=least), scenes)
        for kind, scenes in kinds.items()
        for least in LEAST
    ]


def shrunk(scene: Scene, side: int) -> Scene:
    scale = side / scene.photo.width
    small = photo_from_array(resized(scene.photo.pixels, scale))
    return Scene(small, [scene.truths[0].moved(scale, 0, 0)])


def thresholds(model: Path, known: list[Scene], canvases: Canvases) -> list[dict[str, Any]]:
    """What each threshold finds among small and degraded faces, and where there is none."""
    scenes = {str(height): canvases.scenes(height, DETAILS[-1]) for height in (32, 48, 64, 96)}
    scenes |= {name: [degraded(face, name) for face in known] for name in DEGRADATIONS}
    blank = [Scene(load_photo(file), []) for file in canvases.blank]
    rows: list[dict[str, Any]] = []
    for threshold in THRESHOLDS:
        policy = ScalePolicy(threshold=threshold)
        found = {name: measure(model, policy, some)["found"] for name, some in scenes.items()}
        extra = measure(model, policy, blank)["extra"]
        rows.append({"threshold": threshold, "found": found, "extra_on_24_mosaics": extra})
    return rows


def rescues(model: Path, known: list[Scene], pictures: list[Pixels]) -> list[dict[str, Any]]:
    """What looking again finds in degraded photos, and in CIFAR-10 pictures."""
    scenes = {name: [degraded(face, name) for face in known] for name in DEGRADATIONS}
    scenes["CIFAR-10"] = [Scene(photo_from_array(pixels), []) for pixels in pictures]
    rows: list[dict[str, Any]] = []
    for sides in RESCUES:
        policy = ScalePolicy(rescue_sides=sides)
        by_kind = {name: measure(model, policy, some) for name, some in scenes.items()}
        rows.append({"rescue_sides": sides, "by_kind": by_kind})
    return rows


DEGRADATIONS: dict[str, Callable[[NDArray[np.float64], np.random.Generator], Any]] = {
    "noise of 40": lambda pixels, random: pixels + random.normal(0, 40, pixels.shape),
    "noise of 70": lambda pixels, random: pixels + random.normal(0, 70, pixels.shape),
    "dark": lambda pixels, random: pixels / 4 + random.normal(0, 12, pixels.shape),
    "overexposed": lambda pixels, _: pixels * 2.2 + 60,
    "blurred by 7": lambda pixels, _: cv2.GaussianBlur(pixels, (0, 0), 7),
}


def degraded(face: Scene, name: str) -> Scene:
    pixels = DEGRADATIONS[name](face.photo.pixels.astype(float), np.random.default_rng(0))
    return Scene(photo_from_array(np.clip(pixels, 0, 255).astype(np.uint8)), face.truths)


def large_photos(model: Path, canvases: Canvases) -> list[dict[str, Any]]:
    """Each choice of passes over each height of face, at both fractions of decoding."""
    rows: list[dict[str, Any]] = []
    for detail in DETAILS:
        table: dict[tuple[int, ...], dict[int, Any]] = {sides: {} for sides in SIDES}
        for height in HEIGHTS:
            scenes = canvases.scenes(height, detail)
            for sides in SIDES:
                table[sides][height] = measure(model, ScalePolicy(sides), scenes)
        for sides, by_height in table.items():
            times = [row["ms_median"] for row in by_height.values()]
            row = {"decoded_at_least": detail, "sides": sides, "ms_median": percentile(times, 50)}
            rows.append(row | {"by_face_height": by_height})
    return rows


def decoding(files: list[Path]) -> dict[int, float | None]:
    """Milliseconds for load_photo of 4000x3000, at each fraction."""
    times = {
        detail: [timed_ms(lambda f=file, d=detail: load_photo(f, d))[1] for file in files]
        for detail in DETAILS
    }
    return {detail: percentile(values, 50) for detail, values in times.items()}


def beside_opencv(model: Path, photo: Photo) -> list[dict[str, Any]]:
    """One pass by cv2.FaceDetectorYN and by ours, one thread each; medians of 15."""
    peer = cv2.FaceDetectorYN.create(str(model), "", (64, 64), ScalePolicy().threshold)
    rows: list[dict[str, Any]] = []
    for size in ((250, 250), (1280, 960)):
        view = photo_from_array(np.asarray(cv2.resize(photo.pixels, size), np.uint8))
        ours = YuNet(model, ScalePolicy((max(size),)))
        peer.setInputSize(size)
        theirs = [timed_ms(lambda v=view: peer.detect(v.pixels))[1] for _ in range(16)][1:]
        times = [timed_ms(lambda v=view, o=ours: o.detect(v))[1] for _ in range(16)][1:]
        both = {"opencv_ms": percentile(theirs, 50), "onnxruntime_ms": percentile(times, 50)}
        rows.append({"size": size} | both)
    return rows


@click.command(cls=Script, help=__doc__)
@click.option("--shared", type=click.Path(path_type=Path), default=Path("../shared"))
@click.option("--detector", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/results"))
@click.option("--photos", "count", default=2000, help="LFW photos to draw.")
@click.option("--faces", default=60, help="Least faces of each height.")
@click.option("--seed", default=0)
def main(shared: Path, detector: Path, out: Path, count: int, faces: int, seed: int) -> None:
    result = circumstances(seed) | {"policy": asdict(ScalePolicy())}
    photos = development_photos(shared, count, seed)
    known = known_faces(detector, photos)
    result["one_pass_beside_opencv"] = beside_opencv(detector, photos[0])
    result["photos_250x250"] = as_they_are(detector, photos, known)
    result["small_photos"] = small_photos(detector, known[:400])
    with tempfile.TemporaryDirectory() as folder:
        pictures = cifar(shared, 2000)
        result["rescues"] = rescues(detector, known[:300], pictures)
        canvases = make_canvases(Path(folder), pictures, known, faces)
        result["decode_ms_4000x3000"] = decoding(canvases.blank)
        result["thresholds"] = thresholds(detector, known[:300], canvases)
        result["photos_4000x3000"] = large_photos(detector, canvases)
    (out / "detection-policy.json").write_text(json.dumps(result, indent=1) + "\n")
    click.echo(f"{out / 'detection-policy.json'} written")


if __name__ == "__main__":
    main()
