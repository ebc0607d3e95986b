"""Fit the quality of a face, and prove on LFW that it predicts error.

Claim: a face's quality says how likely a probe is to find its person, before anybody is compared.
Method: that of facedb/training/quality.py, on the held-out people of CelebA, whose photos are shown
whole; with `--crops` on their crops, as `facedb train` does it of any encoder.
Proof: LFW, the first photo of each of 5,749 people enrolled; probes are the 7,484 others, and 1,000
of them clean and under each distortion. Error of what is kept, against the share turned away, by
our quality, by the detector's score and by the size alone.

    python scripts/fit_quality.py --people runs/celeba --write-card
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

import click
import numpy as np
from command import Script
from evaluate_calibration import people_of, several_photos
from measuring import RESULTS, ROOT, SHARED, bundled_card, circumstances, finish, rounded, table
from numpy.typing import NDArray

from facedb.encoder import Encoder, open_encoder
from facedb.evaluation.curves import error_versus_reject
from facedb.evaluation.metrics import rank_k
from facedb.evaluation.samples import Samples
from facedb.evaluation.trial import enrolled_from, run_trial
from facedb.faces import Detector, open_detector
from facedb.photos import load_photo, photo_from_array, walk_people
from facedb.pipeline import encode_photo, encode_photos
from facedb.quality import QualityModel, traits
from facedb.training.data import read_faces
from facedb.training.distortions import KINDS
from facedb.training.quality import CONDITIONS, Looked, centre_of, changed, fitted, quality_of
from facedb.training.teacher import embed
from facedb.unseen import CropsOnly

FPIRS = (0.003, 0.01, 0.1)
AWAY = (0.0, 0.05, 0.1, 0.2, 0.3)


class Eyes:
    """Detector and encoder, and the centre that traits are told from."""

    def __init__(self, detector: Detector, encoder: Encoder, centre: NDArray[np.float64]) -> None:
        self.detector, self.encoder, self.centre = detector, encoder, centre

    def look(self, photos: Sequence[Path], condition: str) -> Looked:
        """The face that counts of each photo in which one is found."""
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            jobs = pool.map(lambda item: self._one(*item, condition), enumerate(photos))
            with click.progressbar(jobs, length=len(photos), label=condition) as bar:
                found = [item for item in bar if item is not None]
        rows, embeddings, told = zip(*found, strict=True)
        names = np.array([photos[row].parent.name for row in rows])
        return Looked(names, np.array(rows), np.stack(embeddings), np.stack(told))

    def _one(self, row: int, path: Path, condition: str) -> Any:
        pixels = changed(load_photo(str(path)).pixels, condition, row)
        encoded = encode_photo(photo_from_array(pixels), self.detector, self.encoder, "largest")
        if not encoded.faces:
            return None
        return row, encoded.embeddings[0], traits(encoded.faces, encoded.embeddings, self.centre)[0]


def joined(parts: Sequence[Looked]) -> Looked:
    columns = ("people", "photos", "embeddings", "traits")
    return Looked(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


def rejecting(quality: NDArray[np.float64], wrong: NDArray[np.bool_]) -> dict[str, float]:
    """Error of what is kept, at shares turned away."""
    away, error = error_versus_reject(quality, wrong)
    return {f"{share:g}": rounded(float(np.interp(share, away, error))) for share in AWAY}


def proof(eyes: Eyes, model: QualityModel, lfw: Path, few: int) -> dict[str, Any]:
    """Error against reject on LFW, clean and mixed, and the curves."""
    people = sorted(path for path in lfw.iterdir() if path.is_dir())
    photos = [sorted(person.glob("*.webp")) for person in people]
    gallery = eyes.look([own[0] for own in photos], "clean")
    probes = [photo for own in photos for photo in own[1:]]
    chosen = np.random.default_rng(1).permutation(len(probes))[:few]
    some = [probes[row] for row in sorted(chosen.tolist())]
    clean = eyes.look(probes, "clean")
    versions = ["clean", *(f"{kind}-3" for kind in KINDS)]
    mixed = joined([eyes.look(some, version) for version in versions])
    return {
        "clean": _curves(clean, gallery, model),
        "templates": weighting(joined([gallery, clean]), model, lfw),
        "mixed": _curves(mixed, gallery, model) | {"versions": versions, "photos": len(some)},
    }


def weighting(seen: Looked, model: QualityModel, lfw: Path) -> dict[str, Any]:
    """The mean of a person's templates against that weighted by their quality, five draws."""
    samples = people_of(as_samples(seen), lfw.parent / "peopleDevTrain.txt")
    heavy = as_samples(
        replace(seen, embeddings=seen.embeddings * model.chances(seen.traits)[:, None])
    )
    heavy = people_of(heavy, lfw.parent / "peopleDevTrain.txt")
    rows: dict[str, list[list[float]]] = {"mean": [], "weighted by quality": []}
    for draw in range(5):
        probes = several_photos(samples, draw)[1]
        for name, kind in zip(rows, (samples, heavy), strict=True):
            gallery = several_photos(kind, draw)[0]
            trial = run_trial(enrolled_from(gallery), probes, "mean")
            ranks = trial.outcome.ranks[trial.mated]
            rows[name].append([rank_k(ranks, [1])[1], *(trial.dir_at(at) for at in FPIRS)])
    figures = ("rank_1", *(f"dir_at_{at:g}" for at in FPIRS))
    return {
        name: dict(zip(figures, np.mean(many, axis=0).tolist(), strict=True))
        for name, many in rows.items()
    }


def as_samples(seen: Looked) -> Samples:
    """Faces as the evaluation's protocols take them."""
    count = len(seen.people)
    digests = np.arange(count).astype(str)
    return Samples(
        seen.people,
        tuple(digests.tolist()),
        digests,
        digests,
        np.full(count, ""),
        seen.embeddings,
        np.ones(count, np.bool_),
        (None,) * count,
        (None,) * count,
    )


def _curves(probes: Looked, gallery: Looked, model: QualityModel) -> dict[str, Any]:
    nearest = np.concatenate(
        [
            (part @ gallery.embeddings.T).argmax(axis=1)
            for part in np.array_split(probes.embeddings, 1 + len(probes.embeddings) // 1000)
        ]
    )
    wrong = gallery.people[nearest] != probes.people
    quality = model.chances(probes.traits)
    lost = model.cannot_tell(probes.embeddings)
    poor = lost | (quality < model.poor)
    by = {
        "quality": quality,
        "distance to the centre": probes.traits[:, 0],
        "detector's score": probes.traits[:, 3],
        "size": probes.traits[:, 1],
        "perfect": -wrong.astype(float),
    }
    return {
        "probes": len(wrong),
        "error": rounded(float(wrong.mean())),
        "poor": rounded(float(poor.mean())),
        "unrecognisable": rounded(float(lost.mean())),
        "error_of_unrecognisable": rounded(float(wrong[lost].mean())) if lost.any() else None,
        "error_of_poor": rounded(float(wrong[poor].mean())) if poor.any() else None,
        "kept": {name: rejecting(values, wrong) for name, values in by.items()},
        "curves": {name: _thinned(*error_versus_reject(v, wrong)) for name, v in by.items()},
    }


def _thinned(away: NDArray[np.float64], error: NDArray[np.float64]) -> list[list[float]]:
    shares = np.linspace(0, 0.6, 61)
    return [[rounded(x), rounded(float(np.interp(x, away, error)))] for x in shares.tolist()]


def draw(result: dict[str, Any], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for axis, name, words in zip(
        axes,
        ("clean", "mixed"),
        ("LFW as it is", "LFW, clean and under seven distortions"),
        strict=True,
    ):
        for label, points in result[name]["curves"].items():
            x, y = np.array(points).T
            style = ":" if label == "perfect" else "-"
            axis.plot(100 * x, 100 * y, style, lw=2.4 if label == "quality" else 1.3, label=label)
        axis.set(title=words, xlabel="turned away, % of probes", ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("rank-1 error of those kept, %")
    axes[0].legend(frameon=False)
    figure.savefig(file, dpi=110)


def threshold_of(encoder: Encoder) -> float:
    return float(encoder.card["threshold"]["distance"])


def development(
    people: Path, photos: Path, detector: Detector, encoder: Encoder
) -> tuple[QualityModel, dict[str, Any]]:
    """The regression fitted on the people held out, and what it was fitted on."""
    looked = CropsOnly()
    crops = [looked.detect(load_photo(str(path)))[0].crop for path in people.glob("val/*/*.webp")]
    eyes = Eyes(detector, encoder, centre_of(crops, encoder))
    held = sorted(path.name for path in (people / "val").iterdir())
    whole = [path for name in held for path in sorted((photos / name).glob("*.webp"))]
    seen = {condition: eyes.look(whole, condition) for condition in CONDITIONS}
    firsts = [str(min(path.glob("*.webp"))) for path in sorted((people / "train").iterdir())]
    others = np.concatenate([one.embeddings for one in encode_photos(firsts, looked, encoder)])
    model, found = fitted(seen, seen["clean"], others, eyes.centre, threshold_of(encoder))
    return model, {
        "people": len(held),
        "photos": len(whole),
        "others": len(others),
        "faces": sum(len(part.people) for part in seen.values()),
        "right": {condition: rounded(share) for condition, share in found.items()},
    }


def as_training_does(people: Path, encoder: Encoder) -> tuple[QualityModel, dict[str, Any]]:
    """What `facedb train` would write into the encoder's card."""
    held, trained = (
        read_faces(walk_people(people / part).entries, CropsOnly(), encoder.input_size)
        for part in ("val", "train")
    )
    embeddings = embed(encoder, held.crops)
    model = quality_of(encoder, threshold_of(encoder), held, embeddings, trained)
    if isinstance(model, str):
        raise click.ClickException(model)
    return model, {"people": len(held.names), "photos": len(held), "others": len(trained.names)}


@click.command(cls=Script)
@click.option(
    "--people",
    type=click.Path(path_type=Path),
    required=True,
    help="What make_celeba.py built: val/ holds the people held out, train/ the others.",
)
@click.option("--shared", type=click.Path(path_type=Path), default=SHARED)
@click.option("--detector", default="bundled", show_default=True)
@click.option("--few", default=1000, show_default=True, help="LFW probes that are distorted.")
@click.option("--encoder", "spec", default="bundled", show_default=True)
@click.option("--crops", is_flag=True, help="Fit on crops alone, as `facedb train` does.")
@click.option("--write-card", is_flag=True, help="Write numbers into the bundled card, and draw.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="[default: quality.json among results]"
)
def main(
    people: Path,
    shared: Path,
    detector: str,
    few: int,
    spec: str,
    crops: bool,
    write_card: bool,
    out: Path | None,
) -> None:
    """Fit, prove, and write the result; of the bundled encoder card and docs/quality.png, too."""
    as_shipped = spec == "bundled" and not crops
    if write_card and not as_shipped:
        raise click.UsageError("--write-card is of the bundled encoder, fitted on whole photos")
    if out is None and not as_shipped:
        raise click.UsageError("--out: quality.json is of the bundled encoder, on whole photos")
    begun = circumstances(1)
    encoder, found = open_encoder(spec, "cpu"), open_detector(detector)
    photos = shared / "data" / "celeba" / "photos"
    model, fitted_on = (
        as_training_does(people, encoder) if crops else development(people, photos, found, encoder)
    )
    eyes = Eyes(found, encoder, model.centre)
    lfw = proof(eyes, model, shared / "data" / "lfw" / "images", few)
    for name in ("clean", "mixed"):
        rows = [("by", *(f"{share:.0%}" for share in AWAY))]
        rows += [
            (by, *(f"{100 * error:.1f}" for error in kept.values()))
            for by, kept in lfw[name]["kept"].items()
        ]
        table(f"LFW, {name}: rank-1 error of those kept, %, by the share turned away", rows)
    made_by = {"encoder": encoder.fingerprint, "detector": found.fingerprint}
    numbers = model.card()
    centre = {"centre": numbers.pop("centre")}
    finish(
        begun | made_by | {"development": fitted_on} | numbers | {"lfw": lfw},
        [],
        out or RESULTS / "quality.json",
    )
    if write_card:
        draw(lfw, ROOT / "docs" / "quality.png")
        with bundled_card() as card:
            card["quality"] = centre | numbers | {"measured": "docs/results/quality.json"}


if __name__ == "__main__":
    main()
