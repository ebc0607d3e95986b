"""How many photos a second does `FaceDB.index_folder` take in, and with how much memory?

Claim: on two cores at least 200 photos/s of 250x250, detection and alignment included, and at least
15 times face_recognition; at least 12 photos/s of 4000x3000 within 1.5 GB; at least 600 aligned
112x112 crops/s.

Each turn of each case is a fresh process: it opens encoder and detector, indexes a few photos that
do not count, then, on the clock, `index_folder` of the case into a new gallery, publishing
included, then the same folder again, unchanged. In each turn a peer comes next, also in a fresh
process: face_recognition as `face_encodings(image)` does it (dlib's HOG detector at one upsampling,
five landmarks, one jitter, one thread), by dlib itself and the model files of
face_recognition_models, on some of the same photos; the ratios are taken turn by turn. Beside the
crops, the encoder alone and reading alone are measured, in threads as indexing does.

The photos: 250x250 is LFW (WebP). 4000x3000 are JPEGs of quality 90 made here: LFW photos, enlarged
or reduced, on a canvas of noise at many scales. Crops are CelebA's aligned ones of 160 pixels
(WebP, cut to their middle 112), and the same cut to 112x112 beforehand (JPEG, quality 95).

    python scripts/bench_index.py --photos 2000
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from command import Script
from measuring import (
    RESULTS,
    SHARED,
    Budget,
    circumstances,
    finish,
    in_fresh_process,
    pairwise,
    peak_mb,
    spread,
    table,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CANVAS = (4000, 3000)
SMALL, LARGE, CROPS160, CROPS112 = "250x250", "4000x3000", "160x160 crops", "112x112 crops"


@dataclass(frozen=True)
class Case:
    """A folder of people whose photos are indexed, and the detector that finds their faces."""

    name: str
    folder: Path
    detector: str


def indexed(case: Case) -> dict[str, float]:
    """Index a case into a new gallery; run in a fresh process."""
    import facedb
    from facedb.identify import Settings

    settings = Settings(detector=case.detector, device="cpu")
    with tempfile.TemporaryDirectory() as scratch:
        warm_up = Path(scratch) / "few"
        link(photos_of(case.folder)[:20], warm_up)
        with facedb.open(Path(scratch) / "warm.gallery", settings) as db:
            db.index_folder(warm_up)
        with facedb.open(Path(scratch) / "case.gallery", settings) as db:
            _ = db.encoder, db.detector
            started = time.perf_counter()
            report = db.index_folder(case.folder)
            elapsed = time.perf_counter() - started
            started = time.perf_counter()
            again = db.index_folder(case.folder)
            unchanged = time.perf_counter() - started
    assert again.enrolled == 0
    return {
        "photos/s": report.photos / elapsed,
        "unchanged photos/s": report.photos / unchanged,
        "photos": report.photos,
        "enrolled": report.enrolled,
        "refused": len(report.refused),
        "peak_mb": peak_mb(),
    }


def photos_of(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*/*") if file.is_file())


def link(photos: Sequence[Path], folder: Path) -> None:
    """The photos in folders by person, without copying them."""
    for photo in photos:
        person = folder / photo.parent.name
        person.mkdir(parents=True, exist_ok=True)
        (person / photo.name).symlink_to(photo.resolve())


def by_face_recognition(photos: Sequence[Path]) -> dict[str, float]:
    """Photos a second of face_recognition's own steps, through dlib; run in a fresh process."""
    import dlib
    import numpy as np
    from PIL import Image

    models = model_folder()
    detector = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
    encoder = dlib.face_recognition_model_v1(
        str(models / "dlib_face_recognition_resnet_model_v1.dat")
    )

    def encodings(photo: Path) -> int:
        pixels = np.array(Image.open(photo).convert("RGB"))
        landmarks = [predictor(pixels, box) for box in detector(pixels, 1)]
        return len([encoder.compute_face_descriptor(pixels, points, 1) for points in landmarks])

    encodings(photos[0])
    started = time.perf_counter()
    faces = [encodings(photo) for photo in photos]
    elapsed = time.perf_counter() - started
    return {
        "photos/s": len(photos) / elapsed,
        "photos": len(photos),
        "with a face": sum(count > 0 for count in faces),
        "peak_mb": peak_mb(),
    }


def model_folder() -> Path:
    """Where face_recognition_models lies; importing it needs what setuptools no longer brings."""
    found = util.find_spec("face_recognition_models")
    if found is None or found.origin is None:
        raise click.ClickException("from a clone: pip install '.[bench]', or use --no-peer")
    return Path(found.origin).parent / "models"


def parts_of_crops(folder: Path, count: int) -> dict[str, float]:
    """Crops a second of reading alone and of encoding alone; run in a fresh process."""
    import numpy as np

    from facedb.encoder import open_encoder
    from facedb.photos import load_photo
    from facedb.pipeline import CHUNK
    from facedb.unseen import CropsOnly

    encoder, detector = open_encoder("bundled", "cpu"), CropsOnly()
    photos = photos_of(folder)[:count]

    def crops(chunk: Sequence[Path]) -> NDArray[np.uint8]:
        return np.stack([detector.detect(load_photo(photo))[0].crop for photo in chunk])

    chunks = [photos[start : start + CHUNK] for start in range(0, len(photos), CHUNK)]
    read, reading = in_threads(crops, chunks)
    _, encoding = in_threads(encoder.embed, read)
    return {"read only": len(photos) / reading, "encode only": len(photos) / encoding}


def in_threads(work: Callable[[Any], Any], chunks: Sequence[Any]) -> tuple[list[Any], float]:
    """The results, and the seconds they took, with as many threads as indexing has."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(work, chunks[:4]))
        started = time.perf_counter()
        results = list(pool.map(work, chunks))
        return results, time.perf_counter() - started


def texture(random: np.random.Generator) -> NDArray[np.uint8]:
    """uint8[3000, 4000, 3]: noise at many scales, about as hard to compress as a photograph."""
    import cv2
    import numpy as np

    width, height = CANVAS
    canvas = np.full((height, width, 3), 128.0, dtype=np.float32)
    for cell in (1024, 512, 256, 128, 64, 32, 16, 8, 4, 2, 1):
        noise = random.standard_normal((height // cell + 1, width // cell + 1, 3), np.float32)
        canvas += cv2.resize(noise * 4.5 * cell**0.3, CANVAS, interpolation=cv2.INTER_LINEAR)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def make_large(folder: Path, photos: Sequence[Path], count: int, seed: int) -> None:
    """`count` JPEGs of 4000x3000, one to five LFW photos on each; run in a fresh process."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(seed)
    for number in range(count):
        canvas = Image.fromarray(texture(random))
        for column in range(int(random.integers(1, 6))):
            side = int(random.uniform(250, 780) if column else random.uniform(500, 2400))
            left = min(column * 800, CANVAS[0] - side)
            face = Image.open(photos[int(random.integers(len(photos)))]).convert("RGB")
            top = int(random.integers(0, CANVAS[1] - side + 1))
            canvas.paste(face.resize((side, side), Image.Resampling.BICUBIC), (left, top))
        person = folder / f"person{number % 20:02}"
        person.mkdir(parents=True, exist_ok=True)
        canvas.save(person / f"{number:03}.jpg", quality=90)


def make_crops(folder: Path, photos: Sequence[Path]) -> None:
    """The middle 112 of the crops of 160, as JPEG."""
    from PIL import Image

    for photo in photos:
        person = folder / photo.parent.name
        person.mkdir(parents=True, exist_ok=True)
        crop = Image.open(photo).convert("RGB").crop((24, 24, 136, 136))
        crop.save(person / f"{photo.stem}.jpg", quality=95)


@dataclass(frozen=True)
class Sizes:
    """How many of each are indexed, and how often."""

    photos: int
    peer_photos: int
    large: int
    crops: int
    turns: int


def make_cases(scratch: Path, shared: Path, detector: str, sizes: Sizes, seed: int) -> list[Case]:
    """The folders of every case."""
    lfw = photos_of(shared / "data" / "lfw" / "images")
    crops = photos_of(shared / "data" / "celeba" / "crops160")[: sizes.crops]
    folders = {name: scratch / name for name in (SMALL, LARGE, CROPS160, CROPS112)}
    # Every so many: the first would be one letter of the alphabet.
    link(lfw[:: max(1, len(lfw) // sizes.photos)][: sizes.photos], folders[SMALL])
    in_fresh_process(make_large, folders[LARGE], lfw, sizes.large, seed)
    link(crops, folders[CROPS160])
    make_crops(folders[CROPS112], crops)
    return [
        Case(name, folder, detector if name in (SMALL, LARGE) else "none")
        for name, folder in folders.items()
    ]


def peers(case: Case, sizes: Sizes) -> dict[str, tuple[Any, ...]]:
    """What is measured beside a case, in turn with it: name -> function and arguments."""
    if case.name == SMALL and sizes.peer_photos:
        photos = photos_of(case.folder)
        step = max(1, len(photos) // sizes.peer_photos)
        return {"face_recognition": (by_face_recognition, photos[::step][: sizes.peer_photos])}
    if case.detector == "none":
        return {"parts": (parts_of_crops, case.folder, sizes.crops)}
    return {}


def measure(case: Case, sizes: Sizes) -> dict[str, Any]:
    """The spread over the turns of a case and of what is measured beside it."""
    turns: dict[str, list[dict[str, float]]] = {"facedb": []}
    for _ in range(sizes.turns):
        turns["facedb"].append(in_fresh_process(indexed, case))
        for name, (function, *arguments) in peers(case, sizes).items():
            turns.setdefault(name, []).append(in_fresh_process(function, *arguments))
    sizes_of_files = [photo.stat().st_size for photo in photos_of(case.folder)]
    result: dict[str, Any] = {"mean_file_kb": sum(sizes_of_files) / len(sizes_of_files) / 1e3}
    for name, rows in turns.items():
        result[name] = {key: spread([row[key] for row in rows]) for key in rows[0]}
    if "face_recognition" in turns:
        rates = [
            [row["photos/s"] for row in turns[name]] for name in ("facedb", "face_recognition")
        ]
        result["times face_recognition"] = pairwise(*rates)
    show(case.name, result)
    return result


def show(title: str, result: dict[str, Any]) -> None:
    rows: list[list[Any]] = [["", "median", "min", "max", "iqr"]]
    for name, figures in result.items():
        if not isinstance(figures, dict):
            rows.append([name, figures])
            continue
        named = {name: figures} if "median" in figures else figures
        for key, values in named.items():
            label = key if key == name else f"{name}: {key}"
            rows.append([label, *(values[part] for part in ("median", "min", "max", "iqr"))])
    width = len(rows[0])
    table(title, [[*row, *[""] * (width - len(row))] for row in rows])


def budgets(cases: dict[str, dict[str, Any]]) -> list[Budget]:
    def rate(name: str) -> float:
        return float(cases[name]["facedb"]["photos/s"]["median"])

    memory = cases[LARGE]["facedb"]["peak_mb"]["max"]
    found = [
        Budget("250x250", rate(SMALL), 200, "photos/s", at_least=True),
        Budget("4000x3000", rate(LARGE), 12, "photos/s", at_least=True),
        Budget("4000x3000, peak memory", memory, 1500, "MB"),
        Budget("aligned 112x112 crops", rate(CROPS112), 600, "crops/s", at_least=True),
    ]
    ratio = cases[SMALL].get("times face_recognition")
    if ratio:
        name = "250x250 over face_recognition"
        found.insert(1, Budget(name, ratio["median"], 15, "times", at_least=True))
    return found


@click.command(cls=Script, help=__doc__)
@click.option("--shared", type=click.Path(path_type=Path), default=SHARED)
@click.option("--detector", default="bundled", show_default=True)
@click.option("--photos", default=2000, show_default=True, help="Of 250x250.")
@click.option("--peer-photos", default=200, show_default=True, help="Of them, by the peer.")
@click.option("--large", default=60, show_default=True, help="Of 4000x3000.")
@click.option("--crops", default=4806, show_default=True)
@click.option("--turns", default=5, show_default=True)
@click.option("--no-peer", is_flag=True, help="Without face_recognition.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "bench-index.json")
def main(
    shared: Path, detector: str, photos: int, peer_photos: int, large: int, crops: int,
    turns: int, no_peer: bool, seed: int, out: Path,
) -> None:  # fmt: skip
    sizes = Sizes(photos, 0 if no_peer else peer_photos, large, crops, turns)
    result = circumstances(seed)
    with tempfile.TemporaryDirectory() as scratch:
        cases = make_cases(Path(scratch), shared, detector, sizes, seed)
        result["cases"] = {case.name: measure(case, sizes) for case in cases}
    finish(result, budgets(result["cases"]), out)


if __name__ == "__main__":
    main()
