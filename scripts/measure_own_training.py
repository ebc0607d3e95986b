"""What it is worth to go on from the bundled encoder with one's own people.

Claim: the published recipe makes it worse; `own`, triplets and what the encoder said before, makes
it better on photos like one's own.
Method: the published recipe, which is contrastive, and `own`, both begun from the bundled encoder,
as `facedb train` runs them on photos that the bundled detector cuts.
Few: 20 of the 40 people held out from CelebA, six draws, up to 10 photos of each enrolled. Those of
18 are trained on, and the epoch is picked by the other two, as the command does of itself. How many
of the 20 people's other photos are identified where 1 % of LFW's 4,069 people of one photo are
accepted, or 15 % of the photos of the 20 others, who can tell no smaller share; and LFW's
peopleDevTrain, whom nobody trained on.
Hundreds: the FACECOM layout, 788 people in 1,837 photos and two distortions of each, in three
epochs; its 222 validation people in all seven distortions, by whom the epoch is picked, and the 40
of CelebA. What is trained on people of LFW is not measured on LFW.

    python scripts/make_facecom.py --out runs/facecom --list train --drawn 2
    python scripts/make_facecom.py --out runs/facecom --list val
    python scripts/measure_own_training.py --facecom runs/facecom --cache runs/cache --out runs/own
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

import click
import numpy as np
from command import Script
from evaluate_calibration import aggregation_figures, people_of
from evaluate_models import samples_of
from measure_blur import held_out_figures, photos_of
from measuring import RESULTS, SHARED, bundled_folder, circumstances, finish, spread, table
from numpy.typing import NDArray
from peers import crops_of, embedded

from facedb.aggregation import DEFAULT_AGGREGATION
from facedb.encoder import Encoder, open_encoder
from facedb.encoder.bundle import read_bundle
from facedb.evaluation.metrics import dir_at_fpir, rank_k
from facedb.evaluation.samples import Samples
from facedb.evaluation.trial import enrolled_from, run_trial
from facedb.faces import open_detector
from facedb.training.loop import train
from facedb.training.recipes import recipe
from facedb.training.request import TrainReport, TrainRequest
from facedb.training.validation import Metrics
from facedb.types import Pixels

PEOPLE, PHOTOS, DRAWS = 20, 10, 6
RECIPES = ("comsys", "own")
AT = 0.01
AT_FEW = 0.15  # three of 20 people
ACROSS = ("auc", "tar_at_far_1e-2", "tar_at_far_1e-3", "rank1")


@dataclass(frozen=True)
class Shown:
    """Photographs, one folder a person, and the face that the bundled detector cuts from each."""

    photos: tuple[Path, ...]
    crops: Pixels
    shown: NDArray[np.bool_]

    @classmethod
    def of(cls, photos: Sequence[Path], cache: Path, label: str) -> Shown:
        return cls(tuple(photos), *crops_of(photos, open_detector("bundled"), cache, label))

    def samples(self, encoder: Encoder, cache: Path, label: str) -> Samples:
        return samples_of(self.photos, embedded(self.crops, self.shown, encoder, cache, label))


def family(names: NDArray[np.str_], seed: int) -> NDArray[np.bool_]:
    """bool[n]: the photos of some people that are enrolled."""
    random = np.random.default_rng(seed)
    chosen = np.zeros(len(names), dtype=np.bool_)
    for name in random.permutation(np.unique(names))[:PEOPLE]:
        chosen[random.permutation(np.flatnonzero(names == name))[:PHOTOS]] = True
    return chosen


def folder_of(photos: Sequence[Path], folder: Path) -> Path:
    """The photos, copied into a folder per person."""
    for photo in photos:
        place = folder / photo.parent.name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, place)
    return folder


def trained(data: Path, out: Path, name: str, **changes: Any) -> TrainReport:
    """A run as the command makes it, from the bundled encoder."""
    if name == "comsys":
        changes["begin"] = "bundled"
    made = recipe(name, changes)
    workers = max(1, (os.cpu_count() or 1) - 1)
    return train(TrainRequest(data, out, made, detector="bundled", workers=workers, draw=False))


def of_family(
    encoder: Encoder, held: Shown, chosen: NDArray[np.bool_], lfw: Shown, cache: Path
) -> dict[str, float]:
    """How well the family's other photos are identified, and people whom nobody trained on."""
    people = held.samples(encoder, cache, "held-out")
    world = lfw.samples(encoder, cache, "lfw")
    names, counts = np.unique(world.names, return_counts=True)
    strangers = world.take(np.isin(world.names, names[counts == 1]))
    gallery = enrolled_from(people.take(chosen))
    trial = run_trial(gallery, people.take(~chosen), DEFAULT_AGGREGATION)
    apart = run_trial(gallery, strangers, DEFAULT_AGGREGATION).stranger_distances
    ranks, distances = trial.outcome.ranks[trial.mated], trial.outcome.own[trial.mated]
    development = aggregation_figures(people_of(world, SHARED / "data/lfw/peopleDevTrain.txt"))
    return {
        "rank_1": float(rank_k(ranks, [1])[1]),
        "dir_lfw_strangers": dir_at_fpir(ranks, distances, apart, AT),
        "dir_celeba_strangers": trial.dir_at(AT_FEW),
        "development_dir": development["rules"][DEFAULT_AGGREGATION]["mean"]["dir_at_0.01"],
        "mated": len(ranks),
        "strangers": len(apart),
        "celeba_strangers": len(trial.stranger_distances),
    }


def few(out: Path, held: Shown, lfw: Shown, cache: Path) -> dict[str, Any]:
    """Recipe -> the spread over the draws, of each figure and of what training added to it."""
    names = np.array([photo.parent.name for photo in held.photos])
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ("bundled", *RECIPES)}
    epochs: dict[str, list[int]] = {name: [] for name in RECIPES}
    for seed in range(DRAWS):
        chosen = family(names, seed)
        data = folder_of([held.photos[n] for n in np.flatnonzero(chosen)], out / f"family-{seed}")
        for name, rows in found.items():
            spec = "bundled"
            if name != "bundled":
                report = trained(data, out / f"few-{name}-{seed}", name, seed=seed + 1)
                spec = report.encoder
                epochs[name].append(report.best_epoch)
            rows.append(of_family(open_encoder(spec, "cpu"), held, chosen, lfw, cache))
            click.echo(f"{name}, draw {seed}: {rows[-1]}")
    before = found["bundled"]
    return {
        name: {
            figure: spread([row[figure] for row in rows])
            | {"added": spread([a[figure] - b[figure] for a, b in zip(rows, before, strict=True)])}
            for figure in rows[0]
        }
        | ({"best_epochs": epochs[name]} if name in epochs else {})
        for name, rows in found.items()
    }


def of_hundreds(
    metrics: Metrics, by_distortion: dict[str, Metrics], encoder: Encoder, held: Shown
) -> dict[str, Any]:
    """Figures across photos of the validation people, and those of CelebA's people."""
    rows = np.flatnonzero(held.shown)
    names = np.array([held.photos[row].parent.name for row in rows])
    return {
        **{name: metrics[f"cross_photo_{name}"] for name in ACROSS},
        "rank1_by_distortion": {k: row["cross_photo_rank1"] for k, row in by_distortion.items()},
        "celeba": held_out_figures(encoder.embed(held.crops[rows]), names),
    }


def hundreds(out: Path, facecom: Path, held: Shown) -> dict[str, Any]:
    """Recipe -> figures; the encoder begun from, and how many people and photos."""
    found: dict[str, Any] = {}
    for name in RECIPES:
        report = trained(facecom, out / f"hundreds-{name}", name, epochs=3)
        assert report.begun is not None
        measured = json.loads((Path(report.run) / "metrics.json").read_text(encoding="utf-8"))
        if not found:
            found["people"] = {"trained": report.people, "validated": report.val_people}
            found["pictures"] = {"trained": report.photos, "validated": report.val_photos}
            found["without_a_face"] = len(report.left_out)
            bundled, kinds = open_encoder("bundled", "cpu"), measured["begun_by_distortion"]
            found["bundled"] = of_hundreds(report.begun, kinds, bundled, held)
        encoder, kinds = open_encoder(report.encoder, "cpu"), report.by_distortion
        found[name] = of_hundreds(report.metrics, kinds, encoder, held)
        found[name] |= {"best_epoch": report.best_epoch, "worse": report.worse}
        click.echo(f"{name}: {found[name]}")
    return found


@click.command(cls=Script, help=__doc__)
@click.option("--facecom", type=click.Path(path_type=Path), required=True)
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="Scratch folder.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="For the run folders.")
@click.option(
    "--results", type=click.Path(path_type=Path), default=RESULTS / "own-training.json"
)  # fmt: skip
def main(facecom: Path, cache: Path, out: Path, results: Path) -> None:
    result = circumstances(0)
    card = read_bundle(bundled_folder()).card
    people = card.whole["training"]["held_out"]["identities"]
    held = Shown.of(photos_of(SHARED / "data/celeba/photos", people), cache, "held-out")
    lfw = Shown.of(sorted((SHARED / "data/lfw/images").glob("*/*.webp")), cache, "lfw")
    result |= {"encoder": card.name, "hundreds": hundreds(out, facecom, held)}
    result["few"] = few(out, held, lfw, cache)
    show(result)
    finish(result, [], results)


def show(result: dict[str, Any]) -> None:
    head: list[tuple[object, ...]] = [
        ("", "few: rank-1", "DIR", "others' DIR", "hundreds: TAR 0.1 %", "rank-1", "CelebA"),
    ]  # fmt: skip
    for name in ("bundled", *RECIPES):
        own, many = result["few"][name], result["hundreds"][name]
        figures = (own[key]["median"] for key in ("rank_1", "dir_lfw_strangers", "development_dir"))
        celeba = many["celeba"]["rank_1_by_one_photo"]
        head.append((name, *figures, many["tar_at_far_1e-3"], many["rank1"], celeba))
    table("going on from the bundled encoder", head)


if __name__ == "__main__":
    main()
