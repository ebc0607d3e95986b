"""Are photos that lie on their side, or upside down, read as if they stood?

Claim: where nothing in the file says so, they are turned for nearly all, and no photo is that
stands. Before, faces were found in many, which nobody can recognise.
Method: photos of LFW, drawn, and of CelebA's people held out, on which no number of the rule was
chosen, turned by a quarter, a half and three quarters. One is read right when its crop is, byte for
byte, that of the same photo as it stands; it misleads when another crop is taken for a face that
can be made out. These photos, every photo of LFW, of some the seven distortions in three
severities, and photos without faces (CIFAR-10 pictures of the test split in mosaics, pieces of
photos of CelebA's people held out) as they stand: how many are turned, and how many false faces are
on 100. Each with turning and without it, in turn; times are of one thread, medians of three.

    python scripts/measure_turned.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from command import Script
from faceless import cifar, false_faces, mosaics, pieces
from measuring import DETECTOR, RESULTS, SHARED, circumstances, finish, rounded, table
from train_detector import CIFAR, people_of, photos_of

from facedb.encoder import Encoder, open_encoder
from facedb.faces import BUNDLED, BUNDLED_POLICY, ScalePolicy, YuNet
from facedb.photos import load_photo, photo_from_array
from facedb.quality import QualityModel
from facedb.training.distortions import KINDS, distort
from facedb.types import Face, Photo

TURNS = {"90": 1, "180": 2, "270": 3}
"""Degrees to the left -> quarter turns."""

SEVERITIES = (1, 3, 5)
TIMES = 3


class Both:
    """A detector that turns photos, and the same without that."""

    def __init__(self, model: Path, policy: ScalePolicy) -> None:
        self.turning = YuNet(model, policy)
        self.as_it_lies = YuNet(model, replace(policy, upright=0.0))

    def looks(self) -> dict[str, YuNet]:
        return {"turning": self.turning, "as_it_lies": self.as_it_lies}


def lying(both: Both, photos: Sequence[Photo], encoder: Encoder) -> dict[str, Any]:
    """For each angle and detector the shares of photos that are read right, and that mislead."""
    standing = [(photo, found[0]) for photo in photos if (found := both.as_it_lies.detect(photo))]
    shares: dict[str, Any] = {"photos": len(standing)}
    for degrees, turns in TURNS.items():
        turned = [photo_from_array(np.rot90(photo.pixels, turns).copy()) for photo, _ in standing]
        shares[degrees] = {}
        for name, detector in both.looks().items():
            found = [next(iter(detector.detect(photo)), None) for photo in turned]
            right = [
                face is not None and np.array_equal(face.crop, one.crop)
                for face, (_, one) in zip(found, standing, strict=True)
            ]
            wrong = [face for face, well in zip(found, right, strict=True) if face and not well]
            shares[degrees][name] = {
                "right": rounded(float(np.mean(right))),
                "misleads": rounded(recognisable(wrong, encoder) / len(standing)),
            }
    return shares


def recognisable(faces: Sequence[Face], encoder: Encoder) -> int:
    """How many of these pass for faces that can be made out."""
    model = QualityModel.of(encoder.card)
    assert model is not None
    if not faces:
        return 0
    return int((~model.cannot_tell(encoder.embed(np.stack([face.crop for face in faces])))).sum())


def changed(both: Both, photos: Sequence[Photo]) -> int:
    """How many photos are read otherwise for being turned."""
    return sum(boxes(both.turning, one) != boxes(both.as_it_lies, one) for one in photos)


def boxes(detector: YuNet, photo: Photo) -> list[tuple[float, ...]]:
    return [face.box for face in detector.detect(photo)]


def slower(both: Both, photos: Sequence[Photo]) -> float:
    """How many times as long photos take for being turned where they lie."""

    def seconds(look: Callable[[Photo], object]) -> float:
        started = time.perf_counter()
        for photo in photos:
            look(photo)
        return time.perf_counter() - started

    pairs = [(seconds(both.turning.detect), seconds(both.as_it_lies.detect)) for _ in range(TIMES)]
    return rounded(statistics.median(one / other for one, other in pairs))


@click.command(cls=Script, help=__doc__)
@click.option("--shared", type=click.Path(path_type=Path), default=SHARED)
@click.option("--yunet", type=click.Path(path_type=Path), default=DETECTOR)
@click.option("--photos", "count", default=1000, show_default=True, help="Of LFW, drawn.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "turned.json")
def main(shared: Path, yunet: Path, count: int, seed: int, out: Path) -> None:
    result = circumstances(seed) | {"severities": SEVERITIES, "detectors": {}}
    files = sorted((shared / "data" / "lfw" / "images").glob("*/*"))
    everybody = [load_photo(file) for file in files]
    rows = np.random.default_rng(seed).choice(len(files), min(count, len(files)), replace=False)
    drawn = [everybody[row] for row in sorted(rows.tolist())]
    worse = [
        photo_from_array(distort(photo.pixels, kind, severity, seed + number))
        for number, photo in enumerate(drawn)
        for kind, severity in [(KINDS[number % 7], SEVERITIES[number // 7 % 3])]
    ]
    celeba = shared / "data" / "celeba"
    held = photos_of(celeba, people_of(celeba)[1])
    others = [load_photo(file) for file in held[:count]]
    bare = {
        "cifar_mosaics": mosaics(cifar(shared / CIFAR, "test"), seed),
        "celeba_pieces": pieces(held, yunet, seed),
    }
    encoder = open_encoder("bundled", "cpu")
    for name, model, policy in (
        ("bundled", BUNDLED, BUNDLED_POLICY),
        ("yunet", yunet, ScalePolicy()),
    ):
        both = Both(model, policy)
        found = {
            "upright": policy.upright,
            "lying": {
                "lfw": lying(both, drawn, encoder),
                "celeba": lying(both, others, encoder),
            },
            "changed": {
                "lfw": {"photos": len(everybody), "changed": changed(both, everybody)},
                "lfw_distorted": {"photos": len(worse), "changed": changed(both, worse)},
                "celeba": {"photos": len(others), "changed": changed(both, others)},
            },
            "false_per_100": {
                kind: {
                    look: false_faces(detector, {kind: photos})[kind]
                    for look, detector in both.looks().items()
                }
                for kind, photos in bare.items()
            },
            "faceless_photos": {kind: len(photos) for kind, photos in bare.items()},
            "time_of_without": {
                "lfw": slower(both, drawn),
                "lfw_distorted": slower(both, worse),
                "cifar_mosaics": slower(both, bare["cifar_mosaics"]),
            },
        }
        result["detectors"][name] = found
        show(name, found)
    finish(result, [], out)


def shares_of(looks: dict[str, dict[str, float]]) -> list[float]:
    return [share for look in looks.values() for share in look.values()]


def show(name: str, found: dict[str, Any]) -> None:
    for photos, shares in found["lying"].items():
        table(
            f"{name}, {shares['photos']} photos of {photos}",
            [
                ("turned by", "right", "misleads", "right, not turned back", "misleads"),
                *((degrees, *shares_of(shares[degrees])) for degrees in TURNS),
            ],
        )
    for words in ("changed", "false_per_100", "time_of_without"):
        click.echo(f"{words}: {found[words]}")


if __name__ == "__main__":
    main()
