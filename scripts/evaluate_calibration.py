"""Which threshold holds, and by which rule people are ranked: measured on LFW's strangers.

Claim: a threshold calibrated at an FPIR of 1 % on some strangers accepts 1 % of others; and of the
rules by which a person's photos become one distance, the shipped default is about as good as any.
Method: every photo of LFW through detector and encoder once (kept in a scratch folder), then
  promise      gallery: the first photo of the 1,680 people with two or more; the 4,069 people with
               one photo are strangers. 20 times the strangers are halved by a seed: the threshold
               is calibrated on one half, and its FPIR measured on the other.
  aggregation  development people only (peopleDevTrain): up to half of a person's photos, 10 at
               most, are enrolled, drawn by 5 seeds; DIR at FPIR 0.3, 1 and 10 %. Repeated on
               peopleDevTest, which shares nobody with it, to see whether the order holds.
  by photos    DIR at FPIR 1 % by how many photos of the person are enrolled, and over people where
               a person with many probes counts once; the same draws.
  proposals    how often the people that the index proposes (those with the nearest photos) would
               not hold the one that ranking everybody by the default rule puts first.
  one          the threshold for a gallery of any size, set on the strangers of peopleDevTrain and
               proved on those of peopleDevTest: the first photo enrolled, as in `promise`.
  by size      the encoder's default operating points: galleries of so many people of
               peopleDevTrain, 5 photos each at most, 5 draws; strangers are its people with one
               photo. Each is proved on a gallery of the same size and the strangers of
               peopleDevTest.
  as shipped   peopleDevTest enrolled by the first photo, decided by the threshold for so many.
  grown        the FPIR of a threshold calibrated at the smaller size when the gallery has grown.
  foretold     the FPIR of the threshold that smaller galleries make expect for a larger one.
  crowds       galleries of more people than by size has, drawn from all of LFW, a photo each; who
               was not drawn is a stranger. Some of these set the threshold.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from command import Script
from evaluate_models import samples_of
from measuring import RESULTS, SHARED, bundled_card, circumstances, finish, table
from numpy.typing import NDArray
from peers import PEERS, crops_of, detector_of, embedded, open_peer

from facedb.aggregation import AGGREGATIONS, DEFAULT_AGGREGATION, Aggregation
from facedb.answers import PROPOSED
from facedb.evaluation.curves import points
from facedb.evaluation.metrics import fpir, rank_k, threshold_at
from facedb.evaluation.samples import Samples
from facedb.evaluation.splits import open_set_split, rows_of
from facedb.evaluation.trial import Trial, enrolled_from, run_trial
from facedb.faces import open_detector
from facedb.operating import at_size
from facedb.strangers import StrangerCurve, expected_fpir

WANTED = 0.01
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
CROWDS = (2000, 3000, 4000, 5000)
PHOTOS = ((1, 1), (2, 4), (5, 9), (10, 10))
DRAWS = 5
MOST_PHOTOS = 10


def open_trial(samples: Samples) -> Trial:
    """Everybody with several photos enrolled by the first, who has one photo is a stranger."""
    split = open_set_split(samples, None)
    enrolled = enrolled_from(samples.take(rows_of(samples, split.gallery)))
    asked = samples.take(rows_of(samples, (*split.mated, *split.strangers)))
    return run_trial(enrolled, asked, DEFAULT_AGGREGATION)


def promise(samples: Samples, splits: int) -> dict[str, Any]:
    trial = open_trial(samples)
    strangers = trial.stranger_distances
    found = []
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(strangers))
        one, other = order[: len(order) // 2], order[len(order) // 2 :]
        threshold = StrangerCurve.observed(strangers[one], len(one)).threshold(WANTED)
        found.append((threshold, fpir(strangers[other], threshold), _tpir(trial, threshold)))
    thresholds, accepted, identified = np.array(found).T
    return {
        "gallery": len(trial.enrolled.names),
        "strangers_on_each_side": len(strangers) // 2,
        "splits": splits,
        "fpir_wanted": WANTED,
        "fpir": _spread(accepted),
        "tpir": _spread(identified),
        "threshold": _spread(thresholds),
        "each_fpir": accepted.tolist(),
        # Of one split: a binomial of the strangers on the other side.
        "chance_sd_of_one_split": float(np.sqrt(2 * WANTED * (1 - WANTED) / len(one))),
    }


def one_threshold(train: Samples, test: Samples) -> dict[str, Any]:
    """The threshold of a gallery of whatever size, set on some people and proved on others."""
    calibrated, proved = open_trial(train), open_trial(test)
    threshold = threshold_at(calibrated.stranger_distances, WANTED)
    return {
        "distance": threshold,
        "fpir": WANTED,
        "calibrated_on": {"people": "LFW peopleDevTrain", **_sizes(calibrated)},
        "proved_on": {
            "people": "LFW peopleDevTest",
            **_sizes(proved),
            "fpir": fpir(proved.stranger_distances, threshold),
            "tpir": _tpir(proved, threshold),
        },
    }


def _sizes(trial: Trial) -> dict[str, int]:
    mated = int(trial.mated.sum())
    return {
        "gallery": len(trial.enrolled.names),
        "strangers": len(trial.mated) - mated,
        "mated": mated,
    }


def _tpir(trial: Trial, threshold: float) -> float:
    ranks, own = trial.outcome.ranks[trial.mated], trial.outcome.own[trial.mated]
    return float(np.mean((ranks == 1) & (own <= threshold)))


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    error = float(values.std(ddof=1))
    low, high = np.percentile(values, [2.5, 97.5])
    return {
        "mean": float(values.mean()),
        "sd": error,
        "low": float(low),
        "high": float(high),
        "min": float(values.min()),
        "max": float(values.max()),
    }


def people_of(samples: Samples, file: Path) -> Samples:
    names = [line.split("\t")[0] for line in file.read_text().splitlines()[1:]]
    return samples.take(np.isin(samples.names, names))


def several_photos(samples: Samples, seed: int) -> tuple[Samples, Samples]:
    """Gallery of up to half of each person's photos, and everything else as probes."""
    random = np.random.default_rng(seed)
    enrolled = np.zeros(len(samples), dtype=np.bool_)
    for name in np.unique(samples.names):
        rows = random.permutation(np.flatnonzero(samples.names == name))
        enrolled[rows[: min(MOST_PHOTOS, len(rows) // 2)]] = True
    return samples.take(enrolled), samples.take(~enrolled)


def aggregation_figures(samples: Samples) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for rule in AGGREGATIONS:
        rows = []
        for seed in range(DRAWS):
            gallery, probes = several_photos(samples, seed)
            trial = run_trial(enrolled_from(gallery), probes, rule)
            ranks = trial.outcome.ranks[trial.mated]
            rows.append([rank_k(ranks, [1])[1], *(trial.dir_at(at) for at in (0.003, 0.01, 0.1))])
        names = ("rank_1", "dir_at_0.003", "dir_at_0.01", "dir_at_0.1")
        mean, deviation = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1)
        figures[rule] = {
            "mean": dict(zip(names, mean.tolist(), strict=True)),
            "sd_of_draws": dict(zip(names, deviation.tolist(), strict=True)),
        }
    best = max(figures, key=lambda rule: figures[rule]["mean"]["dir_at_0.01"])
    return {"rules": figures, "best_by_dir_at_0.01": best}


def by_photos(samples: Samples) -> dict[str, Any]:
    """DIR by the number of photos enrolled, over all draws, each at its own threshold."""
    photos, hits, people = [], [], []
    for seed in range(DRAWS):
        gallery, probes = several_photos(samples, seed)
        trial = run_trial(enrolled_from(gallery), probes, DEFAULT_AGGREGATION)
        owners = trial.owners[trial.mated]
        limit = threshold_at(trial.stranger_distances, WANTED)
        ranks, own = trial.outcome.ranks[trial.mated], trial.outcome.own[trial.mated]
        photos.append(np.bincount(trial.enrolled.owners)[owners])
        hits.append((ranks == 1) & (own <= limit))
        people.append(owners + seed * len(trial.enrolled.names))
    number, hit, person = (np.concatenate(part) for part in (photos, hits, people))
    found: dict[str, Any] = {"dir": float(hit.mean()), "dir_over_people": _by_person(hit, person)}
    return found | {
        f"{least}-{most}" if most > least else f"{least}": {
            "people": len(np.unique(person[of])) / DRAWS,
            "probes": int(of.sum()) / DRAWS,
            "dir": float(hit[of].mean()),
            "dir_over_people": _by_person(hit[of], person[of]),
        }
        for least, most in PHOTOS
        for of in [(least <= number) & (number <= most)]
    }


def _by_person(hits: NDArray[np.bool_], people: NDArray[np.int64]) -> float:
    """The mean over people of each one's share of hits."""
    place = np.unique(people, return_inverse=True)[1]
    return float((np.bincount(place, hits) / np.bincount(place)).mean())


def as_shipped(sizes: list[dict[str, Any]], test: Samples) -> dict[str, Any]:
    """Other people, decided by the threshold for a gallery of their number."""
    trial = open_trial(test)
    size = next(size for size in sizes if size["people"] >= len(trial.enrolled.names))
    return {
        "people": "LFW peopleDevTest",
        **_sizes(trial),
        "threshold_for_people": size["people"],
        "distance": size["distance"],
        "fpir": fpir(trial.stranger_distances, size["distance"]),
        "tpir": _tpir(trial, size["distance"]),
    }


def proposals(samples: Samples) -> dict[str, Any]:
    gallery, probes = several_photos(samples, 0)
    enrolled = enrolled_from(gallery)
    everybody = run_trial(enrolled, probes, DEFAULT_AGGREGATION)
    first = everybody.outcome.first
    # How many people have a nearer photo than the one who is first by the default rule?
    as_owner = replace(probes, names=enrolled.names[np.maximum(first, 0)])
    place = run_trial(enrolled, as_owner, "nearest").outcome.ranks
    return {
        "probes": len(probes),
        "people": len(enrolled.names),
        "proposed": PROPOSED,
        "outside": int((place > PROPOSED).sum()),
        "largest_place": int(place.max()),
    }


def _galleries(samples: Samples, size: int, draws: int) -> list[tuple[Samples, Samples]]:
    """Galleries of so many people with several photos, and all people with one as strangers."""
    names, number = np.unique(samples.names, return_counts=True)
    strangers = samples.take(np.isin(samples.names, names[number == 1]))
    found = []
    for seed in range(draws):
        random = np.random.default_rng(seed)
        people = random.choice(names[number > 1], size, replace=False)
        rows = [np.flatnonzero(samples.names == name)[:5] for name in people]
        found.append((samples.take(np.concatenate(rows)), strangers))
    return found


def _stranger_distances(
    samples: Samples, size: int, rule: Aggregation
) -> list[NDArray[np.float64]]:
    return [
        run_trial(enrolled_from(gallery), strangers, rule).stranger_distances
        for gallery, strangers in _galleries(samples, size, DRAWS)
    ]


def by_size(train: Samples, test: Samples) -> list[dict[str, Any]]:
    rows = []
    for size in SIZES:
        drawn = _stranger_distances(train, size, DEFAULT_AGGREGATION)
        together = np.concatenate(drawn)
        threshold = threshold_at(together, WANTED)
        row = {
            "people": size,
            "strangers": len(drawn[0]),
            "distance": threshold,
            "fpir": WANTED,
            "curve": points(together),
        }
        if size <= 496:
            proved = _stranger_distances(test, size, DEFAULT_AGGREGATION)
            accepted = [fpir(distances, threshold) for distances in proved]
            row["proved_on"] = {
                "people": "LFW peopleDevTest",
                "strangers": len(proved[0]),
                "fpir_mean": float(np.mean(accepted)),
                "fpir_min": min(accepted),
                "fpir_max": max(accepted),
            }
        rows.append(row)
    return rows


def foretold(sizes: list[dict[str, Any]], train: Samples) -> list[dict[str, float]]:
    """The FPIR of a gallery decided by what smaller ones make expect, of the same strangers."""
    rows = []
    for largest, people in ((10, 100), (50, 500), (100, 200), (100, 500), (100, 1000), (200, 1000)):
        threshold, _ = at_size([size for size in sizes if size["people"] <= largest], people)
        strangers = np.concatenate(_stranger_distances(train, people, DEFAULT_AGGREGATION))
        rows.append(
            {
                "largest_measured": largest,
                "people": people,
                "distance": threshold,
                "measured_there": threshold_at(strangers, WANTED),
                "fpir": fpir(strangers, threshold),
            }
        )
    return rows


def crowds(sizes: list[dict[str, Any]], samples: Samples) -> list[dict[str, float]]:
    """Galleries of more people than were measured: drawn from everybody, one photo each."""
    _, first = np.unique(samples.names, return_index=True)
    rows = []
    for people in CROWDS:
        threshold, _ = at_size(sizes, people)
        found = []
        for seed in range(DRAWS):
            drawn = np.random.default_rng(seed).permutation(first)[:people]
            asked = np.setdiff1d(np.arange(len(samples.names)), drawn)
            enrolled = enrolled_from(samples.take(drawn))
            trial = run_trial(enrolled, samples.take(asked), DEFAULT_AGGREGATION)
            own = threshold_at(trial.stranger_distances, WANTED)
            found.append(
                [
                    fpir(trial.stranger_distances, threshold),
                    _tpir(trial, threshold),
                    fpir(trial.stranger_distances, sizes[-1]["distance"]),
                    own,
                    _tpir(trial, own),
                ]
            )
        names = ("fpir", "tpir", "fpir_unmoved", "distance_of_its_own", "tpir_of_its_own")
        means = dict(zip(names, np.mean(found, axis=0).tolist(), strict=True))
        rows.append({"people": people, "distance": threshold, **means})
    return rows


def grown(train: Samples) -> list[dict[str, float]]:
    small = 100
    before = np.concatenate(_stranger_distances(train, small, DEFAULT_AGGREGATION))
    threshold = threshold_at(before, WANTED)
    return [
        {
            "people": size,
            "times": size / small,
            "fpir": fpir(
                np.concatenate(_stranger_distances(train, size, DEFAULT_AGGREGATION)), threshold
            ),
            "expected": expected_fpir(WANTED, small, size),
        }
        for size in (100, 200, 500, 1000)
    ]


@click.command(cls=Script, help=__doc__)
@click.option("--lfw", type=click.Path(path_type=Path), default=SHARED / "data/lfw")
@click.option("--models", type=click.Path(path_type=Path), default=SHARED / "models")
@click.option("--detector", default="bundled", show_default=True, help="Of the bundled encoder.")
@click.option("--peer", "peers", multiple=True, default=PEERS, show_default=True)
@click.option("--splits", default=20, show_default=True)
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="Scratch folder.")
@click.option("--write-card", is_flag=True, help="Put the operating points into the bundle's card.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=RESULTS / "evaluation-calibration.json"
)
def main(
    lfw: Path,
    models: Path,
    detector: str,
    peers: tuple[str, ...],
    splits: int,
    cache: Path,
    write_card: bool,
    out: Path,
) -> None:
    begun, opened = circumstances(0), open_detector(detector)
    photos = sorted((lfw / "images").glob("*/*.webp"))
    figures: dict[str, Any] = {}
    for peer in peers:
        encoder = open_peer(peer, models)
        crops, shown = crops_of(photos, detector_of(peer, opened, models), cache, "lfw")
        samples = samples_of(photos, embedded(crops, shown, encoder, cache, "lfw"))
        train = people_of(samples, lfw / "peopleDevTrain.txt")
        test = people_of(samples, lfw / "peopleDevTest.txt")
        figures[peer] = {
            "encoder": encoder.name,
            "encoder_fingerprint": encoder.fingerprint,
            "promise": promise(samples, splits),
            "aggregation": {
                "development": aggregation_figures(train),
                "other_people": aggregation_figures(test),
            },
            "proposals": proposals(train),
            "one_threshold": one_threshold(train, test),
            "by_photos": {"development": by_photos(train), "other_people": by_photos(test)},
            "by_gallery_size": (sizes := by_size(train, test)),
            "as_shipped": as_shipped(sizes, test),
            "grown": grown(train),
            "foretold": foretold(sizes, train),
            "crowds": crowds(sizes, samples),
        }
        show(peer, figures[peer])
    finish(
        {**begun, "detector": opened.fingerprint, "aggregation": DEFAULT_AGGREGATION, **figures},
        [],
        out,
    )
    if write_card:
        with bundled_card() as card:
            card["threshold"] = threshold_of(figures["bundled"]) | {
                "aggregation": DEFAULT_AGGREGATION,
                "detector": opened.fingerprint,
            }


def threshold_of(figures: dict[str, Any]) -> dict[str, Any]:
    """What the card says: one threshold, and one for each size of gallery."""
    sizes = [
        {name: size[name] for name in ("people", "strangers", "distance", "curve")}
        for size in figures["by_gallery_size"]
    ]
    return {**figures["one_threshold"], "by_gallery_size": sizes}


def show(peer: str, figures: dict[str, Any]) -> None:
    kept = figures["promise"]["fpir"]
    click.echo(
        f"\n{peer}: FPIR {100 * kept['mean']:.2f} % "
        f"({100 * kept['low']:.2f} to {100 * kept['high']:.2f} %)"
    )
    rules = figures["aggregation"]["development"]["rules"]
    rows = [[rule, *row["mean"].values()] for rule, row in rules.items()]
    table(f"{peer}: by rule", [("", "rank-1", "DIR 0.3 %", "1 %", "10 %"), *rows])
    sizes = figures["by_gallery_size"]
    proved = [size.get("proved_on", {}).get("fpir_mean", float("nan")) for size in sizes]
    table(
        f"{peer}: by size",
        [
            ("people", "distance", "proved FPIR"),
            *(
                (str(size["people"]), size["distance"], share)
                for size, share in zip(sizes, proved, strict=True)
            ),
        ],
    )


if __name__ == "__main__":
    main()
