"""Whom does `facedb people doubts` take for one person under two names, and how often wrongly?

Claim: two names mostly are one person's where the means of their photos, and the nearest two of
these, lie within 0.95 of the threshold.
Method: people of LFW with two photos or more, as many as drawn; three in a hundred, one at least,
have some of their photos under a second name. All are enrolled into a gallery and looked over by
the encoder's threshold for so many names. Of those with two names: found. Of all others: pairs
named, on 100 people; LFW's own labels err a little, too. The share of the threshold is chosen on
the people of peopleDevTrain, and then measured on the others.

    python scripts/measure_twice.py --cache runs/cache
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from command import Script
from evaluate_calibration import people_of
from measure_lookalikes import enroll, samples_of_lfw
from measuring import RESULTS, SHARED, circumstances, finish, rounded, table
from numpy.typing import NDArray

from facedb.aggregation import DEFAULT_AGGREGATION
from facedb.encoder import Encoder, open_encoder
from facedb.evaluation.intervals import bootstrap
from facedb.evaluation.samples import Samples
from facedb.faces import Detector, open_detector
from facedb.gallery import Gallery
from facedb.operating import operating
from facedb.pinning import new_pin
from facedb.twice import SURE, enrolled_twice

DRAWS = {20: 200, 100: 40, 0: 10}
"""How often so many people are drawn; 0 is everybody."""

SHARES = (1.0, 0.97, SURE, 0.92, 0.9)
"""Of the threshold, tried on the development people."""

SPLIT = 0.03
SECOND = " again"


def under_two_names(names: NDArray[np.str_], random: np.random.Generator) -> NDArray[np.str_]:
    """The names under which photos lie: some people have a second one for some of them."""
    people = np.unique(names)
    under = names.astype(f"<U{names.dtype.itemsize // 4 + len(SECOND)}")
    for person in random.choice(people, max(1, round(SPLIT * len(people))), replace=False):
        rows = random.permutation(np.flatnonzero(names == person))
        some = rows[: random.integers(1, len(rows))]
        under[some] = np.char.add(names[some], SECOND)
    return under


def counts_of(
    samples: Samples, size: int, seed: int, encoder: Encoder, detector: Detector
) -> dict[float, dict[str, int]]:
    """Share of the threshold -> what was found at it."""
    random = np.random.default_rng(seed)
    names, number = np.unique(samples.names, return_counts=True)
    several = names[number > 1]
    drawn = random.choice(several, size or len(several), replace=False)
    part = samples.take(np.isin(samples.names, drawn))
    under = under_two_names(part.names, random)
    split = sum(name.endswith(SECOND) for name in np.unique(under).tolist())
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        gallery = Gallery.create(Path(folder) / "g", new_pin(encoder, detector, "bundled"))
        enroll(gallery, part, under)
        limit = operating(gallery.store, encoder, DEFAULT_AGGREGATION).threshold
        assert limit is not None
        for share in SHARES:
            pairs = enrolled_twice(gallery, 0, limit * share / SURE)
            true = sum(
                pair.name.removesuffix(SECOND) == pair.other.removesuffix(SECOND) for pair in pairs
            )
            counts = {"people": len(drawn), "split": split, "found": true}
            found[share] = counts | {"others": len(pairs) - true}
        gallery.close()
    return found


def summed(draws: list[dict[str, int]]) -> dict[str, Any]:
    total = {name: sum(draw[name] for draw in draws) for name in draws[0]}
    each = np.array([(draw["found"], draw["split"]) for draw in draws])
    interval = bootstrap(
        lambda rows: float(each[rows, 0].sum() / each[rows, 1].sum()), np.arange(len(draws))
    )
    return total | {
        "draws": len(draws),
        "share_found": rounded(total["found"] / total["split"]),
        "share_interval": [rounded(interval.low), rounded(interval.high)],
        "others_on_100_people": rounded(100 * total["others"] / total["people"]),
    }


@click.command(cls=Script, help=__doc__)
@click.option("--lfw", type=click.Path(path_type=Path), default=SHARED / "data/lfw")
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="Scratch folder.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "twice.json")
def main(lfw: Path, cache: Path, out: Path) -> None:
    begun = circumstances(0)
    detector, encoder = open_detector("bundled"), open_encoder("bundled", "cpu")
    samples = samples_of_lfw(lfw, cache, detector, encoder)
    samples = samples.take(samples.shown)
    chosen_on = people_of(samples, lfw / "peopleDevTrain.txt")
    others = samples.take(~np.isin(samples.names, np.unique(chosen_on.names)))
    result: dict[str, Any] = {}
    rows: list[tuple[object, ...]] = []
    for whose, part in (("development", chosen_on), ("other people", others)):
        for size, draws in DRAWS.items():
            counts = [counts_of(part, size, seed, encoder, detector) for seed in range(draws)]
            people = counts[0][SURE]["people"]
            for share in SHARES if whose == "development" else (SURE,):
                row = {"whose": whose, "people": people, "share": share}
                figures = summed([drawn[share] for drawn in counts])
                result.setdefault("rows", []).append(row | figures | {"people": people})
                rows.append(
                    (*row.values(), figures["share_found"], figures["others_on_100_people"])
                )
    table("two names", [("", "people", "of the threshold", "found", "others on 100"), *rows])
    facts = {"encoder": encoder.name, "encoder_fingerprint": encoder.fingerprint}
    facts |= {"detector": detector.fingerprint, "split_share": SPLIT}
    finish(begun | facts | result, [], out)


if __name__ == "__main__":
    main()
