"""LFW with detection: 10-fold pairs, identification of all people, and the default threshold.

Claim: how well an encoder recognises people in photographs it was never trained on.
Method: every photo goes through the product's own pipeline (load, detect, align, encode).
  pairs           View 2, 6,000 pairs, 10 folds; a pair without two faces counts as different.
  identification  gallery: the first photo of each of the 5,749 people; probes: the other 7,484.
                  A probe without a face is a miss.
  threshold       peopleDevTrain: gallery the first photo of each person with several, strangers
                  the people with one; the largest distance with FPIR <= 1 %. Proved on
                  peopleDevTest, which shares nobody with it.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click
import numpy as np
from measuring import circumstances, finish
from numpy.typing import NDArray

from facedb.decision import rank
from facedb.encoder import Encoder, open_encoder
from facedb.encoder.bundle import BUNDLED, CARD
from facedb.evaluation.metrics import fpir, rank_k, ten_fold_accuracy, threshold_at, tpir
from facedb.faces import open_detector
from facedb.gallery import Gallery
from facedb.pipeline import encode_photos
from facedb.store import NewTemplate, Pin

ROOT = Path(__file__).resolve().parent.parent
Vectors = dict[str, NDArray[np.float32]]


def encode_all(lfw: Path, encoder: Encoder, detector: str) -> tuple[Vectors, int]:
    """`Person/Person_0001` -> vector, of photos that show a face; and how many photos there are."""
    photos = sorted((lfw / "images").glob("*/*.webp"))
    vectors: Vectors = {}
    encoded = encode_photos([str(photo) for photo in photos], open_detector(detector), encoder)
    with click.progressbar(encoded, length=len(photos), label="encoding") as bar:
        for photo, result in zip(photos, bar, strict=True):
            if result.faces:
                vectors[photo.stem] = result.embeddings[0]
    return vectors, len(photos)


def pairs_of(file: Path) -> list[tuple[str, str, bool]]:
    pairs = []
    for line in file.read_text().splitlines()[1:]:
        fields = line.split("\t")
        if len(fields) == 3:
            name, one, other = fields
            pairs.append((f"{name}_{int(one):04}", f"{name}_{int(other):04}", True))
        elif len(fields) == 4:
            left, one, right, other = fields
            pairs.append((f"{left}_{int(one):04}", f"{right}_{int(other):04}", False))
    return pairs


def verification(vectors: Vectors, lfw: Path) -> dict[str, object]:
    pairs = pairs_of(lfw / "pairs.txt")
    distances = np.array(
        [
            float(np.linalg.norm(vectors[one].astype(np.float64) - vectors[other]))
            if one in vectors and other in vectors
            else 2.0
            for one, other, _ in pairs
        ]
    )
    accuracy = ten_fold_accuracy(distances, np.array([same for _, _, same in pairs]))
    return {
        "n": len(pairs),
        "accuracy": float(accuracy.mean()),
        "standard_deviation": float(accuracy.std(ddof=1)),
        "folds": accuracy.tolist(),
    }


def person_of(photo: str) -> str:
    return photo.rsplit("_", 1)[0]


def search(
    vectors: Vectors, gallery: list[str], probes: list[str], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Each probe's rank of its own person (0: none among k), and its nearest distance."""
    dim = len(next(iter(vectors.values())))
    with tempfile.TemporaryDirectory() as folder:
        made = Gallery.create(Path(folder) / "g", Pin("lfw", "lfw", "0", dim, "lfw", "0"))
        enrolled = [photo for photo in gallery if photo in vectors]
        with made.writing() as writer:
            writer.add_templates(
                [
                    NewTemplate(person_of(photo), photo, (0.0, 0.0, 0.0, 0.0), 1.0, vectors[photo])
                    for photo in enrolled
                ]
            )
        numbers = {person.name: person.identity_id for person in made.store.people()}
        shown = [row for row, photo in enumerate(probes) if photo in vectors]
        found = rank(made.search(np.stack([vectors[probes[row]] for row in shown]), k), k)
        made.close()
    owners = np.array([numbers.get(person_of(probes[row]), -1) for row in shown])
    own = found.identity_ids == owners[:, None]
    ranks = np.zeros(len(probes), dtype=np.int64)
    ranks[shown] = np.where(own.any(axis=1), own.argmax(axis=1) + 1, 0)
    nearest = np.full(len(probes), np.inf)
    nearest[shown] = found.distances[:, 0]
    return ranks, nearest


def identification(vectors: Vectors, photos: list[str]) -> dict[str, object]:
    gallery = [photo for photo in photos if photo.endswith("_0001")]
    probes = [photo for photo in photos if not photo.endswith("_0001")]
    ranks, _ = search(vectors, gallery, probes, 10)
    return {
        "gallery": len(gallery),
        "probes": len(probes),
        "failures_to_enroll": sum(photo not in vectors for photo in gallery),
        "failures_to_acquire": sum(photo not in vectors for photo in probes),
        "rank": {str(k): share for k, share in rank_k(ranks, [1, 5, 10]).items()},
    }


def open_set(
    vectors: Vectors, lfw: Path, part: str
) -> tuple[NDArray[np.float64], dict[str, object], tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Strangers' nearest distances in one development half; sizes; mated ranks and distances."""
    counts = [line.split("\t") for line in (lfw / part).read_text().splitlines()[1:]]
    several = {name: int(count) for name, count in counts if int(count) > 1}
    alone = [f"{name}_0001" for name, count in counts if int(count) == 1]
    gallery = [f"{name}_0001" for name in several]
    mated = [f"{name}_{n:04}" for name, count in several.items() for n in range(2, count + 1)]
    _, strangers = search(vectors, gallery, alone, 1)
    sizes: dict[str, object] = {
        "gallery": len(gallery),
        "strangers": len(alone),
        "mated": len(mated),
    }
    return strangers, sizes, search(vectors, gallery, mated, 1)


@click.command(help=__doc__)
@click.option("--lfw", type=click.Path(path_type=Path), default=ROOT.parent / "shared/data/lfw")
@click.option("--detector", envvar="FACEDB_DETECTOR", required=True)
@click.option("--encoder", default="bundled")
@click.option("--fpir", "wanted", default=0.01, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "docs/results/lfw.json")
@click.option("--write-card", is_flag=True, help="Put threshold and figures into the card.")
def main(
    lfw: Path, detector: str, encoder: str, wanted: float, out: Path, write_card: bool
) -> None:
    begun, opened = circumstances(0), open_encoder(encoder)
    vectors, count = encode_all(lfw, opened, detector)
    photos = sorted(photo.stem for photo in (lfw / "images").glob("*/*.webp"))
    figures: dict[str, object] = {
        "photos": count,
        "without_face": count - len(vectors),
        "pairs": verification(vectors, lfw),
        "identification": identification(vectors, photos),
    }
    strangers, sizes, _ = open_set(vectors, lfw, "peopleDevTrain.txt")
    threshold = threshold_at(strangers, wanted)
    proof, proof_sizes, (ranks, nearest) = open_set(vectors, lfw, "peopleDevTest.txt")
    figures["threshold"] = {
        "distance": threshold,
        "fpir": wanted,
        "calibrated_on": {"people": "LFW peopleDevTrain", **sizes},
        "proved_on": {
            "people": "LFW peopleDevTest",
            **proof_sizes,
            "fpir": fpir(proof, threshold),
            "tpir": tpir(ranks, nearest, threshold),
        },
    }
    click.echo(json.dumps(figures, indent=1))
    finish(
        {**begun, "encoder": opened.name, "encoder_fingerprint": opened.fingerprint, **figures},
        [],
        out,
    )
    if write_card:
        file = (BUNDLED if encoder == "bundled" else Path(encoder)) / CARD
        card = json.loads(file.read_text())
        card["threshold"] = figures["threshold"]
        card["measured"] = card.get("measured", {}) | {
            "lfw": figures["pairs"],
            "lfw_identification": figures["identification"],
        }
        file.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
