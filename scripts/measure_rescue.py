"""How sure must a face be that is seen only when a photo is looked at again, reduced?

Claim: our detector's second and third look at a photo in which it found nothing make most of its
false faces and find next to nobody, unless there is much noise, where they are sure of it. YuNet
needs them.
Method: false faces on 100 photos without any, on which YuNet finds none (CIFAR-10 pictures of the
test split in mosaics, pieces of photos of CelebA's people held out), and the face that counts found
again under the hardest distortions (intersection over union of at least 0.5; photos of LFW's
peopleDevTrain). Each detector without rescue passes, and with their finds from a score on.

    python scripts/measure_rescue.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from bench_detection import development_photos
from command import Script
from faceless import cifar, false_faces, mosaics, pieces
from froc import scores_at
from measuring import DETECTOR, RESULTS, SHARED, circumstances, finish, rounded, table
from train_detector import CIFAR, people_of, photos_of

from facedb.faces import BUNDLED, ScalePolicy, YuNet
from facedb.photos import photo_from_array
from facedb.training.distortions import KINDS, SEVERITIES, distort
from facedb.types import Face, Photo

LEAST: dict[str, float | None] = {"never": None, "0.7": 0.7, "0.8": 0.8, "0.85": 0.85, "0.9": 0.9}
"""The score from which a rescue pass may find a face; None does without them."""


def policy_of(least: float | None) -> ScalePolicy:
    if least is None:
        return ScalePolicy(rescue_sides=())
    return ScalePolicy(rescue_threshold=least)


def row_of(
    detector: YuNet, bare: dict[str, list[Photo]], worse: dict[str, list[tuple[Photo, Face]]]
) -> dict[str, Any]:
    """False faces on 100 photos of a kind, and the share found under each distortion."""
    shares = {
        kind: rounded(
            float(np.mean([scores_at([face], detector.detect(one))[0] > 0 for one, face in scenes]))
        )
        for kind, scenes in worse.items()
    }
    return {"false_per_100": false_faces(detector, bare), "found": shares}


@click.command(cls=Script, help=__doc__)
@click.option("--shared", type=click.Path(path_type=Path), default=SHARED)
@click.option("--yunet", type=click.Path(path_type=Path), default=DETECTOR)
@click.option("--photos", "count", default=250, show_default=True, help="Of LFW, drawn.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "rescue.json")
def main(shared: Path, yunet: Path, count: int, seed: int, out: Path) -> None:
    result = circumstances(seed) | {"photos": count, "severity": SEVERITIES[-1], "detectors": {}}
    theirs = YuNet(yunet)
    celeba = shared / "data" / "celeba"
    held = photos_of(celeba, people_of(celeba)[1])
    kinds = {
        "cifar_mosaics": mosaics(cifar(shared / CIFAR, "test"), seed),
        "celeba_pieces": pieces(held, yunet, seed),
    }
    bare = {
        kind: [photo for photo in photos if not theirs.detect(photo)]
        for kind, photos in kinds.items()
    }
    worse = hardest(theirs, development_photos(shared, count, seed), seed)
    for name, model in (("bundled", BUNDLED), ("yunet", yunet)):
        rows = {
            label: row_of(YuNet(model, policy_of(least)), bare, worse)
            for label, least in LEAST.items()
        }
        result["detectors"][name] = rows
        shown = [
            (label, *row["false_per_100"].values(), *row["found"].values())
            for label, row in rows.items()
        ]
        table(name, [("from a score of", *bare, *KINDS), *shown])
    finish(result, [], out)


def hardest(yunet: YuNet, photos: list[Photo], seed: int) -> dict[str, list[tuple[Photo, Face]]]:
    """For each kind the distorted photos, with the face that counts in the clean one."""
    faces = [(photo, found[0]) for photo in photos if (found := yunet.detect(photo))]
    return {
        kind: [
            (photo_from_array(distort(photo.pixels, kind, SEVERITIES[-1], seed + number)), face)
            for number, (photo, face) in enumerate(faces)
        ]
        for kind in KINDS
    }


if __name__ == "__main__":
    main()
