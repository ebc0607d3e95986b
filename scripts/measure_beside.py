"""How sure must a face be that is seen beside a sure one?

Claim: in a photo with a face that nobody doubts, what looks somewhat like a face mostly is one; in
one without, it mostly isn't. So beside a sure face less will do, and the same false faces buy more
of the people in the background.
Method: faces that YuNet finds found (intersection over union of at least 0.5), and faces that YuNet
does not find even at 0.4, on photos of LFW's peopleDevTrain that evaluate_detector.py does not
draw; false faces on 100 photos without any, on which YuNet finds none (CIFAR-10 pictures of the
training split that no detector learned from in mosaics, pieces of photos of people learned from).

    python scripts/measure_beside.py
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from bench_detection import development_files
from command import Script
from evaluate_detector import DOUBT, Tally, chosen
from faceless import false_faces
from measuring import DETECTOR, RESULTS, SHARED, circumstances, finish, table
from train_detector import faceless_photos

from facedb.faces import BUNDLED, BUNDLED_POLICY, ScalePolicy, YuNet
from facedb.photos import load_photo
from facedb.types import Face, Photo

LEAST = (0.7, 0.65, 0.6, 0.55, 0.5)
"""Scores from which somebody beside a sure face is one."""

DRAWN = 1500
"""Photos of LFW that evaluate_detector.py draws for docs/results/detector.json."""

Scene = tuple[Photo, list[Face], list[Face]]
"""A photo, YuNet's faces in it, and what YuNet sees there at DOUBT."""


def row_of(detector: YuNet, scenes: list[Scene], bare: dict[str, list[Photo]]) -> dict[str, Any]:
    tally = Tally()
    for photo, theirs, doubtful in scenes:
        tally.add(theirs, doubtful, detector.detect(photo))
    kept = ("found", "landmark_error_mean", "extra_per_100_photos")
    found = tally.record()
    return {name: found[name] for name in kept} | {"false_per_100": false_faces(detector, bare)}


@click.command(cls=Script, help=__doc__)
@click.option("--shared", type=click.Path(path_type=Path), default=SHARED)
@click.option("--yunet", type=click.Path(path_type=Path), default=DETECTOR)
@click.option("--photos", "count", default=3500, show_default=True, help="Of LFW, drawn.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "beside.json")
def main(shared: Path, yunet: Path, count: int, seed: int, out: Path) -> None:
    every = sorted((shared / "data" / "lfw" / "images").glob("*/*.webp"))
    drawn = set(chosen(every, DRAWN, seed))
    files = [file for file in development_files(shared) if file not in drawn]
    photos = [load_photo(file) for file in chosen(files, count, seed)]
    theirs, doubtful = YuNet(yunet), YuNet(yunet, ScalePolicy(threshold=DOUBT))
    scenes = [(photo, theirs.detect(photo), doubtful.detect(photo)) for photo in photos]
    mosaics, pieces = faceless_photos(shared, theirs, yunet)
    bare = {"cifar_mosaics": mosaics, "celeba_pieces": pieces}
    rows = {
        str(least): row_of(
            YuNet(BUNDLED, replace(BUNDLED_POLICY, beside_threshold=least)), scenes, bare
        )
        for least in LEAST
    }
    result = circumstances(seed) | {
        "photos": len(photos),
        "faces": sum(len(faces) for _, faces, _ in scenes),
        "photos_without_faces": {kind: len(some) for kind, some in bare.items()},
        "beside": rows,
    }
    shown = [
        (least, *list(row.values())[:3], *row["false_per_100"].values())
        for least, row in rows.items()
    ]
    table("beside a sure face", [("from a score of", "found", "landmarks", "extra", *bare), *shown])
    finish(result, [], out)


if __name__ == "__main__":
    main()
