"""What a blur of the crop is worth, before a network whose stem strides over it; no training.

Claim: a little binomial blur helps the same weights: a stem of 7-pixel patches aliases (Zhang, ICML
2019), and many of the faces it learned from were softer than those it meets.
Method: the bundled weights, their crops blurred by binomial filters of several sides (1 is none).
LFW's peopleDevTrain, people with up to half of their photos enrolled, five draws; and the people
held out from CelebA, whole photographs cut by the bundled detector: all pairs of photos, and
rank-1 with one photo of each enrolled, drawn 50 times. Time: one thread, the encoders taking turns.

    python scripts/measure_blur.py --cache runs/cache

`--ship SIDE` makes the bundle with that blur the bundled one: new graph and card, same weights.
Threshold, quality and LFW's figures are of the encoder before until they are measured again:

    python scripts/measure_blur.py --cache runs/cache --ship 3 --name convnext-atto-best-5-blur3 \\
        --people runs/celeba
    python scripts/evaluate_models.py --cache runs/cache --write-card
    python scripts/evaluate_calibration.py --cache runs/cache --write-card
    python scripts/fit_quality.py --people runs/celeba --write-card
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
from command import Script
from evaluate_calibration import aggregation_figures, people_of
from evaluate_models import samples_of
from measuring import (
    RESULTS,
    SHARED,
    bundled_card,
    bundled_folder,
    circumstances,
    finish,
    pairwise,
    rounded,
    spread,
    table,
)
from numpy.typing import NDArray
from peers import crops_of, embedded

from facedb.aggregation import DEFAULT_AGGREGATION
from facedb.encoder import Encoder, open_encoder
from facedb.encoder.bundle import CARD, GRAPH, WEIGHTS, read_bundle
from facedb.encoder.export import write_bundle
from facedb.encoder.torch import bundle_network
from facedb.evaluation.metrics import tmr_at_fmr
from facedb.faces import open_detector
from facedb.photos import walk_people
from facedb.training.data import read_faces
from facedb.training.validation import validate
from facedb.types import Pixels

SIDES = (1, 3, 5)
DRAWS = 50


def blurred_bundle(bundled: Path, side: int, folder: Path, name: str) -> Path:
    """The bundle's weights behind a blur, written into a folder."""
    bundle = read_bundle(bundled)
    network = bundle_network(bundle)
    network.blur = side
    write_bundle(folder, network, bundle.card.whole | {"blur": side, "name": name})
    read_bundle(folder)  # refuses a side that cannot be
    if (folder / WEIGHTS).read_bytes() != (bundled / WEIGHTS).read_bytes():
        raise click.ClickException(f"{folder / WEIGHTS}: other weights than the bundled ones")
    return folder


def ship(bundled: Path, side: int, name: str, people: Path) -> None:
    """Graph and card of the blurred bundle, and what the people held out say of it."""
    with TemporaryDirectory() as folder:
        made = blurred_bundle(bundled, side, Path(folder), name)
        for file in (GRAPH, CARD):
            shutil.copyfile(made / file, bundled / file)
    encoder = open_encoder("bundled", "cpu")
    size = encoder.input_size
    faces = read_faces(walk_people(people / "val").entries, open_detector("none", size), size)
    metrics = validate(encoder.embed(faces.crops), faces).metrics
    with bundled_card() as card:
        card["measured"]["held_out_people"] = {"n": len(faces), **metrics}


def held_out_figures(vectors: NDArray[np.float32], names: NDArray[np.str_]) -> dict[str, float]:
    """TAR at an FAR of 0.1 % over all pairs, and rank-1 with one photo of each enrolled."""
    cosines = vectors.astype(np.float64) @ vectors.T
    one, other = np.triu_indices(len(names), 1)
    tar = tmr_at_fmr(
        np.sqrt(np.maximum(0, 2 - 2 * cosines[one, other])), names[one] == names[other], 0.001
    )
    random, ranks = np.random.default_rng(0), []
    for _ in range(DRAWS):
        order = random.permutation(len(names))
        people, first = np.unique(names[order], return_index=True)
        enrolled, asked = order[first], np.setdiff1d(np.arange(len(names)), order[first])
        best = people[cosines[np.ix_(asked, enrolled)].argmax(axis=1)]
        ranks.append(float(np.mean(best == names[asked])))
    return {
        "tar_at_far_1e-3": rounded(float(tar)),
        "rank_1_by_one_photo": rounded(float(np.mean(ranks))),
        "rank_1_sd_of_draws": rounded(float(np.std(ranks, ddof=1))),
    }


def times_of(encoders: Sequence[Encoder], crops: Pixels) -> list[dict[str, Any]]:
    """Of each encoder over that of the first, for a batch of 1 and of 32 crops."""
    found: list[dict[str, Any]] = [{} for _ in encoders]
    for size, turns in ((1, 400), (32, 60)):
        batch = crops[:size]
        milliseconds: list[list[float]] = [[] for _ in encoders]
        for turn in range(turns + 3):
            for encoder, own in zip(encoders, milliseconds, strict=True):
                started = time.perf_counter()
                encoder.embed(batch)
                if turn >= 3:
                    own.append((time.perf_counter() - started) * 1e3)
        for row, own in zip(found, milliseconds, strict=True):
            row[f"batch_{size}"] = {"ms": spread(own), "of_none": pairwise(own, milliseconds[0])}
    return found


def photos_of(folder: Path, identities: Sequence[str]) -> list[Path]:
    return [photo for name in identities for photo in sorted((folder / name).glob("*.webp"))]


def open_blurred(bundled: Path, folder: Path) -> list[Encoder]:
    """The bundle's weights behind each of SIDES, on the CPU."""
    return [
        open_encoder(str(blurred_bundle(bundled, side, folder / str(side), f"blur-{side}")), "cpu")
        for side in SIDES
    ]


def show(rows: Sequence[dict[str, Any]]) -> None:
    titles = (
        "side",
        "development, rank-1",
        "DIR 1 %",
        "held out, TAR 0.1 %",
        "rank-1 by one photo",
        "time, 1 crop",
        "32",
    )
    shown = [
        (
            str(row["side"]),
            row["development"]["mean"]["rank_1"],
            row["development"]["mean"]["dir_at_0.01"],
            row["held_out"]["tar_at_far_1e-3"],
            row["held_out"]["rank_1_by_one_photo"],
            row["time"]["batch_1"]["of_none"]["median"],
            row["time"]["batch_32"]["of_none"]["median"],
        )
        for row in rows
    ]
    table("a blur of the crop", [titles, *shown])


@click.command(cls=Script, help=__doc__)
@click.option("--lfw", type=click.Path(path_type=Path), default=SHARED / "data/lfw")
@click.option("--photos", type=click.Path(path_type=Path), default=SHARED / "data/celeba/photos")
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="Scratch folder.")
@click.option("--ship", "to_ship", type=click.IntRange(1), help="Side of the blur to ship.")
@click.option("--name", help="Of the encoder that ships.")
@click.option("--people", type=click.Path(path_type=Path), help="What it was trained on.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "blur.json")
def main(
    lfw: Path,
    photos: Path,
    cache: Path,
    to_ship: int | None,
    name: str | None,
    people: Path | None,
    out: Path,
) -> None:
    bundled = bundled_folder()
    if to_ship is not None:
        if name is None or people is None:
            raise click.UsageError("--ship needs --name and --people")
        ship(bundled, to_ship, name, people)
        return
    card = read_bundle(bundled).card
    result, detector = circumstances(0), open_detector("bundled")
    everybody = sorted((lfw / "images").glob("*/*.webp"))
    held_out = photos_of(photos, card.whole["training"]["held_out"]["identities"])
    names = np.array([photo.parent.name for photo in held_out])
    whole = crops_of(everybody, detector, cache, "lfw")
    held = crops_of(held_out, detector, cache, "held-out")
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        encoders = open_blurred(bundled, Path(folder))
        times = times_of(encoders, held[0])
        for side, encoder, took in zip(SIDES, encoders, times, strict=True):
            samples = samples_of(everybody, embedded(*whole, encoder, cache, "lfw"))
            development = people_of(samples, lfw / "peopleDevTrain.txt")
            seen = embedded(*held, encoder, cache, "held-out")
            found = names[seen.shown]
            rows.append({
                "side": side,
                "development": aggregation_figures(development)["rules"][DEFAULT_AGGREGATION],
                "held_out": {"photos": len(found), "people": len(np.unique(found))}
                | held_out_figures(seen.vectors[seen.shown], found),
                "time": took,
            })  # fmt: skip
    show(rows)
    finish(result | {"weights_of": card.name, "sides": rows}, [], out)


if __name__ == "__main__":
    main()
