"""Our detector beside YuNet, on photographs that it was never trained on.

Claim: it finds what YuNet finds, puts the landmarks where YuNet puts them, and takes no longer.
Method: both run in the product's own way (facedb.faces.YuNet, its scales, threshold 0.7).
  found       faces of LFW, and of the CelebA people held out from training, that YuNet finds and
              ours finds too (intersection over union of at least 0.5); the landmark error is the
              mean distance of the five to YuNet's, over YuNet's distance between the eyes.
  itself      the same figures of YuNet's own answers to the mirror image: how exactly it repeats
              itself, which no model that learns from it can be asked to surpass.
  extra       faces that ours finds and YuNet does not, not even at 0.4.
  without     photos without faces: CIFAR-10 pictures (test split) in mosaics and alone, and pieces
              of held-out CelebA photos that touch no face of YuNet's at 0.3; counted are those on
              which YuNet itself finds nothing, and YuNet's own false faces are told beside them.
  trade       free-response ROC of ours and of YuNet shown the mirror image: faces found of those
              that YuNet finds in the photo, against false faces on all photos without faces;
              without the rescue passes, so that a threshold changes nothing else
              (docs/detector-froc.png).
  distorted   held-out faces that YuNet finds in the clean photo, found in the distorted one.
  speed       process time of a photo of 250x250, one thread, the two in turn.

    python scripts/evaluate_detector.py facedb/models/detector/detector.onnx
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import froc
import numpy as np
import onnx
from command import Script
from faceless import cifar, mosaics, pieces
from measuring import (
    DETECTOR,
    RESULTS,
    ROOT,
    SHARED,
    Budget,
    circumstances,
    finish,
    rounded,
    spread,
)
from train_detector import CIFAR, people_of, photos_of

from facedb.detections import overlaps
from facedb.faces import BUNDLED_POLICY, ScalePolicy, YuNet
from facedb.photos import load_photo, photo_from_array
from facedb.training.detector.export import LIMIT
from facedb.training.distortions import KINDS, distort
from facedb.types import Face, Photo

DOUBT = 0.4


@dataclass
class Tally:
    """What ours did with what YuNet found."""

    photos: int = 0
    faces: int = 0
    found: int = 0
    main_faces: int = 0
    main_found: int = 0
    extra: int = 0
    errors: list[float] = field(default_factory=list[float])
    main_errors: list[float] = field(default_factory=list[float])
    missed: list[float] = field(default_factory=list[float])

    def add(self, theirs: list[Face], doubtful: list[Face], ours: list[Face]) -> None:
        self.photos += 1
        for number, face in enumerate(theirs):
            error = landmark_error(face, ours)
            self.faces += 1
            self.main_faces += number == 0
            if error is None:
                self.missed.append(max(face.box[2:]))
                continue
            self.found += 1
            self.errors.append(error)
            if number == 0:
                self.main_found += 1
                self.main_errors.append(error)
        self.extra += sum(best_of(face, doubtful)[1] < 0.3 for face in ours)

    def record(self) -> dict[str, Any]:
        return {
            "photos": self.photos,
            "faces": self.faces,
            "found": share(self.found, self.faces),
            "landmark_error_mean": rounded(float(np.mean(self.errors or [1.0]))),
            "landmark_error_p95": rounded(float(np.percentile(self.errors or [1.0], 95))),
            "main_faces": self.main_faces,
            "main_found": share(self.main_found, self.main_faces),
            "main_landmark_error_mean": rounded(float(np.mean(self.main_errors or [1.0]))),
            "missed_longer_side": spread(self.missed) if self.missed else None,
            "extra_per_100_photos": rounded(100 * self.extra / max(1, self.photos)),
        }


def share(part: int, whole: int) -> float:
    return round(part / max(1, whole), 5)


def best_of(face: Face, others: Sequence[Face]) -> tuple[Face | None, float]:
    """The one that overlaps it most, and by how much (intersection over union)."""
    if not others:
        return None, 0.0
    common = overlaps(np.array(face.box), np.array([other.box for other in others]))
    best = int(common.argmax())
    return others[best], float(common[best])


def landmark_error(face: Face, others: Sequence[Face]) -> float | None:
    """Of the detection that is this face; None where there is none."""
    best, common = best_of(face, others)
    if best is None or common < 0.5:
        return None
    eyes = np.linalg.norm(face.landmarks[1] - face.landmarks[0])
    return float(np.linalg.norm(best.landmarks - face.landmarks, axis=1).mean() / eyes)


@dataclass(frozen=True)
class Pair:
    """The two detectors as the product runs them, and YuNet once more, less strict."""

    ours: YuNet
    theirs: YuNet
    doubtful: YuNet

    @classmethod
    def open(cls, model: Path, yunet: Path) -> Pair:
        doubtful = YuNet(yunet, ScalePolicy(threshold=DOUBT))
        return cls(YuNet(model, BUNDLED_POLICY), YuNet(yunet), doubtful)

    def compare(self, files: Sequence[Path], label: str) -> dict[str, Any]:
        tally, itself = Tally(), Tally()
        with click.progressbar(files, label=label) as bar:
            for file in bar:
                photo = load_photo(file)
                found = [one.detect(photo) for one in (self.theirs, self.doubtful, self.ours)]
                tally.add(*found)
                itself.add(found[0], [], of_mirror_image(self.theirs, photo))
        again = itself.record()
        kept = ("found", "landmark_error_mean", "main_found", "main_landmark_error_mean")
        return tally.record() | {"yunet_itself": {name: again[name] for name in kept}}


def of_mirror_image(detector: YuNet, photo: Photo) -> list[Face]:
    """What it finds there, where it is in the photo."""
    found = detector.detect(photo_from_array(np.ascontiguousarray(photo.pixels[:, ::-1])))
    return [mirrored(face, photo.width) for face in found]


def mirrored(face: Face, width: int) -> Face:
    left, top, across, down = face.box
    points = face.landmarks[[1, 0, 2, 4, 3]] * np.array([-1, 1]) + np.array([width, 0])
    return replace(face, box=(width - left - across, top, across, down), landmarks=points)


def chosen(files: list[Path], count: int | None, seed: int) -> list[Path]:
    if count is None or count >= len(files):
        return files
    order = np.random.default_rng(seed).permutation(len(files))[:count]
    return [files[int(number)] for number in order]


def without_faces(pair: Pair, photos: dict[str, list[Photo]]) -> dict[str, Any]:
    """False faces of both; ours where YuNet finds none, and everywhere."""
    rows: dict[str, Any] = {}
    for kind, some in photos.items():
        theirs = np.array([len(pair.theirs.detect(photo)) for photo in some])
        ours = np.array([len(pair.ours.detect(photo)) for photo in some])
        bare = theirs == 0
        rows[kind] = {
            "photos": len(some),
            "yunet_faces_per_100": rounded(100 * float(theirs.mean())),
            "faces_per_100": rounded(100 * float(ours.mean())),
            "photos_without_yunet_faces": int(bare.sum()),
            "faces_per_100_there": rounded(100 * float(ours.sum(where=bare)) / max(1, bare.sum())),
        }
    return rows


def trade(
    pair: Pair, model: Path, yunet: Path, sets: dict[str, list[Path]], bare: dict[str, list[Photo]]
) -> dict[str, Any]:
    """At rates of false faces, what ours finds and what YuNet's own mirror image does."""
    policy = ScalePolicy(threshold=froc.LEAST, rescue_sides=())
    ours, theirs = YuNet(model, policy), YuNet(yunet, policy)
    looks: dict[str, froc.Look] = {
        "ours": ours.detect,
        "YuNet, of the mirror image": lambda photo: of_mirror_image(theirs, photo),
    }
    photos = {name: [load_photo(file) for file in files] for name, files in sets.items()}
    wanted = {name: [pair.theirs.detect(photo) for photo in some] for name, some in photos.items()}
    false = {who: froc.false_scores(bare, look) for who, look in looks.items()}
    found = {
        who: {
            name: [
                score
                for photo, faces in zip(photos[name], wanted[name], strict=True)
                for score in froc.scores_at(faces, look(photo))
            ]
            for name in sets
        }
        for who, look in looks.items()
    }
    froc.draw(found, false, ROOT / "docs" / "detector-froc.png")
    return {who: froc.at_rates(found[who], false[who]) for who in looks}


def distorted(pair: Pair, files: Sequence[Path]) -> dict[str, Any]:
    """For each kind at its default severity: which of the clean photo's faces are still found."""
    counts = {kind: np.zeros(2, int) for kind in KINDS}
    faces = 0
    with click.progressbar(files, label="distorted") as bar:
        for number, file in enumerate(bar):
            photo = load_photo(file)
            clean = pair.theirs.detect(photo)
            faces += len(clean)
            for kind in KINDS:
                worse = photo_from_array(distort(photo.pixels, kind, seed=number))
                for column, one in enumerate((pair.ours, pair.theirs)):
                    seen = one.detect(worse)
                    counts[kind][column] += sum(
                        landmark_error(face, seen) is not None for face in clean
                    )
    rows = {
        kind: {"found": share(int(both[0]), faces), "yunet_found": share(int(both[1]), faces)}
        for kind, both in counts.items()
    }
    return {"photos": len(files), "faces": faces} | rows


def speed(pair: Pair, files: Sequence[Path], rounds: int) -> dict[str, Any]:
    """Milliseconds of process time a photo, a round after the other, the two in turn."""
    photos = [load_photo(file) for file in files]
    times: dict[str, list[float]] = {"ours": [], "yunet": []}
    for _ in range(rounds):
        for name, one in (("ours", pair.ours), ("yunet", pair.theirs)):
            started = time.process_time()
            for photo in photos:
                one.detect(photo)
            times[name].append((time.process_time() - started) * 1000 / len(photos))
    ratios = [ours / theirs for ours, theirs in zip(times["ours"], times["yunet"], strict=True)]
    return {
        "photos": len(photos),
        "ours_ms": spread(times["ours"]),
        "yunet_ms": spread(times["yunet"]),
        "ours_over_yunet": spread(ratios),
    }


def facts(model: Path) -> dict[str, Any]:
    data = model.read_bytes()
    weights = onnx.load_from_string(data).graph.initializer
    return {
        "file": model.name,
        "bytes": len(data),
        "numbers": sum(int(np.prod(one.dims)) for one in weights),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def budgets(result: dict[str, Any]) -> list[Budget]:
    lines: list[Budget] = []
    for name in ("lfw", "celeba_held_out"):
        part = result[name]
        lines += [
            Budget(f"{name}: faces found", 100 * part["found"], 99, "%", at_least=True),
            Budget(f"{name}: landmark error", 100 * part["landmark_error_mean"], 6, "%"),
        ]
    for name, part in result["without_faces"].items():
        lines.append(Budget(f"{name}: false faces", part["faces_per_100_there"], 5, "per 100"))
    ratio = result["speed_250x250"]["ours_over_yunet"]["median"]
    return [
        *lines,
        Budget("bytes", result["model"]["bytes"], LIMIT, "bytes"),
        Budget("time of YuNet's", ratio, 1, "times"),
    ]


def summary(result: dict[str, Any]) -> dict[str, Any]:
    """What the card says."""
    kept = ("faces", "found", "landmark_error_mean", "main_found", "main_landmark_error_mean")
    places = ("lfw", "celeba_held_out")
    return {
        **{place: {key: result[place][key] for key in kept} for place in places},
        "false_faces_per_100_photos": {
            kind: row["faces_per_100_there"] for kind, row in result["without_faces"].items()
        },
        "found_distorted": {
            kind: row["found"] for kind, row in result["distorted"].items() if kind in KINDS
        },
        "time_of_yunet": result["speed_250x250"]["ours_over_yunet"]["median"],
    }


@click.command(cls=Script)
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option("--yunet", type=click.Path(path_type=Path), default=DETECTOR)
@click.option("--shared", type=click.Path(path_type=Path), default=SHARED)
@click.option(
    "--lfw", "lfw_count", type=int, help="LFW photos, drawn by the seed; all if left out."
)
@click.option("--celeba", "celeba_count", type=int, help="The same for held-out CelebA photos.")
@click.option("--distort", "distorted_count", default=200, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "detector.json")
def main(
    model: Path,
    yunet: Path,
    shared: Path,
    lfw_count: int | None,
    celeba_count: int | None,
    distorted_count: int,
    seed: int,
    out: Path,
) -> None:
    """Measure MODEL beside YuNet."""
    result = circumstances(seed) | {"model": facts(model), "yunet": facts(yunet)}
    pair = Pair.open(model, yunet)
    celeba = shared / "data" / "celeba"
    _, held = people_of(celeba)
    files = photos_of(celeba, held)
    lfw = sorted((shared / "data" / "lfw" / "images").glob("*/*.webp"))
    held_files = chosen(files, celeba_count, seed)
    result["celeba_held_out"] = pair.compare(held_files, "CelebA")
    lfw_files = chosen(lfw, lfw_count, seed)
    result["lfw"] = pair.compare(lfw_files, "LFW")
    pictures = cifar(shared / CIFAR, "test")
    bare = {
        "cifar_mosaics": mosaics(pictures, seed),
        "celeba_pieces": pieces(held_files, yunet, seed),
    }
    result["without_faces"] = without_faces(pair, bare)
    sets = {"LFW": lfw_files, "CelebA": held_files}
    result["trade"] = trade(pair, model, yunet, sets, bare)
    result["distorted"] = distorted(pair, chosen(files, distorted_count, seed))
    result["speed_250x250"] = speed(pair, chosen(lfw, 100, seed), rounds=15)
    result["summary"] = summary(result)
    finish(result, budgets(result), out)


if __name__ == "__main__":
    sys.exit(main())
