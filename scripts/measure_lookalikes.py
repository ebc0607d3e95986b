"""Which photos in a wrong folder does `facedb index` name, and how many right ones with them?

Claim: an enrolled face that lies beyond the threshold from its person's other photos, and within
it of somebody else's, mostly lies in the wrong folder.
Method: people of LFW with two photos or more, as many as drawn; three photos in a hundred are put
under the name of another of them. All are enrolled at once into a gallery, and looked over by the
encoder's threshold for so many people. Of the strayed: named at all, and named as who they are.
Of the others: named (a photo whose only neighbour strayed to the person it is then said to look
like is counted apart). Five draws of people and strays each; LFW's own labels err a little too.

    python scripts/measure_lookalikes.py --cache runs/cache
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from command import Script
from evaluate_models import samples_of
from measuring import RESULTS, SHARED, circumstances, finish, rounded, table
from numpy.typing import NDArray
from peers import crops_of, embedded

from facedb.aggregation import DEFAULT_AGGREGATION
from facedb.encoder import Encoder, open_encoder
from facedb.evaluation.intervals import bootstrap
from facedb.evaluation.samples import Samples
from facedb.faces import Detector, open_detector
from facedb.gallery import Gallery
from facedb.lookalikes import lookalikes
from facedb.operating import operating
from facedb.pinning import new_pin
from facedb.store import FileRow, NewTemplate

DRAWS = {20: 100, 100: 20, 1680: 5}
"""How often so many people are drawn."""

STRAYED = 0.03


def samples_of_lfw(lfw: Path, cache: Path, detector: Detector, encoder: Encoder) -> Samples:
    """Every photo of LFW, cut by a detector and embedded by an encoder."""
    photos = sorted((lfw / "images").glob("*/*.webp"))
    crops, shown = crops_of(photos, detector, cache, "lfw")
    return samples_of(photos, embedded(crops, shown, encoder, cache, "lfw"))


def strayed(names: NDArray[np.str_], random: np.random.Generator) -> NDArray[np.str_]:
    """The names under which photos lie: some under another of the people."""
    people, moved = np.unique(names), random.random(len(names)) < STRAYED
    away = random.integers(1, len(people), size=len(names))
    place = np.searchsorted(people, names)
    return np.where(moved, people[(place + away) % len(people)], names)


def counts_of(
    samples: Samples, size: int, seed: int, encoder: Encoder, detector: Detector
) -> dict[str, int]:
    random = np.random.default_rng(seed)
    names, number = np.unique(samples.names, return_counts=True)
    drawn = random.choice(names[number > 1], size, replace=False)
    part = samples.take(np.isin(samples.names, drawn) & samples.shown)
    under = strayed(part.names, random)
    with tempfile.TemporaryDirectory() as folder:
        gallery = Gallery.create(Path(folder) / "g", new_pin(encoder, detector, "bundled"))
        enroll(gallery, part, under)
        limit = operating(gallery.store, encoder, DEFAULT_AGGREGATION).threshold
        assert limit is not None
        found = lookalikes(gallery, 0, limit)
        gallery.close()
    at = {path: row for row, path in enumerate(part.paths)}
    named = np.array([at[one.path] for one in found], dtype=np.int64)
    other = np.array([one.other for one in found], dtype=np.str_)
    beside = np.array([at[one.photo] for one in found], dtype=np.int64)
    away = under != part.names
    right = away[named] & (other == part.names[named])
    theirs = ~away[named] & away[beside] & (part.names[beside] == part.names[named])
    return {
        "photos": len(part),
        "strayed": int(away.sum()),
        "strayed_named": int(away[named].sum()),
        "strayed_named_right": int(right.sum()),
        "near_a_strayed_photo_of_theirs": int(theirs.sum()),
        "others_named": int((~away[named] & ~theirs).sum()),
    }


def enroll(gallery: Gallery, samples: Samples, under: NDArray[np.str_]) -> None:
    rows = list(zip(samples.paths, samples.digests.tolist(), under.tolist(), strict=True))
    with gallery.writing() as writer:
        writer.add_templates(
            [
                NewTemplate(name, digest, (0.0, 0.0, 1.0, 1.0), 1.0, vector)
                for (_, digest, name), vector in zip(rows, samples.vectors, strict=True)
            ]
        )
        writer.put_files([FileRow(path, name, 1, 1, digest, None) for path, digest, name in rows])


def summed(draws: list[dict[str, int]]) -> dict[str, Any]:
    total = {name: sum(draw[name] for draw in draws) for name in draws[0]}
    right = total["photos"] - total["strayed"]
    each = np.array([(draw["strayed_named"], draw["strayed"]) for draw in draws])
    interval = bootstrap(
        lambda rows: float(each[rows, 0].sum() / max(1, each[rows, 1].sum())), np.arange(len(draws))
    )
    return total | {
        "draws": len(draws),
        "share_of_strayed_named": rounded(total["strayed_named"] / total["strayed"]),
        "share_interval": [rounded(interval.low), rounded(interval.high)],
        "share_of_others_named": rounded(total["others_named"] / right),
    }


@click.command(cls=Script, help=__doc__)
@click.option("--lfw", type=click.Path(path_type=Path), default=SHARED / "data/lfw")
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="Scratch folder.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "lookalikes.json")
def main(lfw: Path, cache: Path, out: Path) -> None:
    begun = circumstances(0)
    detector, encoder = open_detector("bundled"), open_encoder("bundled", "cpu")
    samples = samples_of_lfw(lfw, cache, detector, encoder)
    figures = {
        str(size): summed(
            [counts_of(samples, size, seed, encoder, detector) for seed in range(draws)]
        )
        for size, draws in DRAWS.items()
    }
    rows = [
        (
            size,
            row["photos"],
            row["strayed"],
            row["strayed_named"],
            row["strayed_named_right"],
            row["near_a_strayed_photo_of_theirs"],
            row["others_named"],
        )
        for size, row in figures.items()
    ]
    heads = ("people", "photos", "strayed", "named", "as themselves", "beside one", "others named")
    table("photos of all draws", [heads, *rows])
    finish(
        {
            **begun,
            "encoder": encoder.name,
            "encoder_fingerprint": encoder.fingerprint,
            "detector": detector.fingerprint,
            "strayed_share": STRAYED,
            "by_people": figures,
        },
        [],
        out,
    )


if __name__ == "__main__":
    main()
