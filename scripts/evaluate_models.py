"""LFW with detection, clean and distorted: the bundled encoder beside two MobileFaceNets and dlib.

Claim: how well an encoder recognises people in photographs it was never trained on, and how much of
that is left under seven distortions.
Method: ours with the bundled detector, the MobileFaceNets with YuNet, and dlib with its own.
  pairs           View 2, 6,000 pairs, 10 folds; a pair without two faces counts as different.
  identification  gallery: the first photo of each of the 5,749 people; probes: the other 7,484.
  open set        gallery: the first photo of the 1,680 people with two or more; 7,484 mated probes;
                  the 4,069 people with one photo are strangers. Ten further draws of the photo that
                  is enrolled.
  distorted       1,000 of the 7,484 probes, drawn by the seed, distorted whole (JPEG, quality 95)
                  before any detector sees them, against the same 5,749. Strangers: the same probes,
                  their person held out.
  beside dlib     the same probes against the first photo of the 1,680 people with two or more, for
                  dlib is slow. At the default severity.
Intervals are 95 %, people drawn with replacement. A probe without a face is a miss.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
from command import Script
from measuring import RESULTS, SHARED, bundled_card, circumstances, finish, table
from numpy.typing import NDArray
from peers import PEERS, Embedded, by_dlib, crops_of, detector_of, embedded, open_peer
from PIL import Image

from facedb.aggregation import DEFAULT_AGGREGATION
from facedb.evaluation.lfw import open_set, pair_figures
from facedb.evaluation.metrics import rank_k
from facedb.evaluation.samples import KINDS, Samples
from facedb.evaluation.trial import Trial, enrolled_from, run_trial
from facedb.faces import Detector, open_detector
from facedb.photos import load_photo
from facedb.photos.reasons import NO_FACE

FPIRS = (0.003, 0.01, 0.1)
DEFAULT_SEVERITY = 3


def samples_of(photos: Sequence[Path], seen: Embedded) -> Samples:
    digests = np.array([hashlib.sha256(photo.read_bytes()).hexdigest() for photo in photos])
    return Samples(
        np.array([photo.parent.name for photo in photos]),
        tuple(str(photo) for photo in photos),
        digests,
        digests,
        np.full(len(photos), ""),
        seen.vectors,
        seen.shown,
        tuple([None] * len(photos)),
        tuple(None if shown else NO_FACE for shown in seen.shown),
    )


def closed_set(trial: Trial) -> dict[str, Any]:
    ranks = trial.outcome.ranks
    everybody = np.ones(len(ranks), dtype=np.bool_)
    return {
        "gallery": len(trial.enrolled.names),
        "failures_to_enroll": len(trial.enrolled.names) - len(trial.enrolled.owners),
        "probes": len(ranks),
        "failures_to_acquire": int((~trial.probes.shown).sum()),
        "rank": {str(k): share for k, share in rank_k(ranks, [1, 5, 10]).items()},
        "rank_1_interval": trial.interval(ranks == 1, everybody),
    }


def open_figures(trial: Trial) -> dict[str, Any]:
    return {
        "dir": {str(fpir): trial.dir_at(fpir) for fpir in FPIRS},
        "fnir": {str(fpir): 1.0 - trial.dir_at(fpir) for fpir in FPIRS},
        "dir_interval": {str(fpir): trial.dir_interval(fpir) for fpir in FPIRS},
    }


def clean_figures(samples: Samples, lfw: Path) -> dict[str, Any]:
    names, first = np.unique(samples.names, return_index=True)
    gallery = np.isin(np.arange(len(samples)), first)
    began = time.perf_counter()
    closed = run_trial(
        enrolled_from(samples.take(gallery)), samples.take(~gallery), DEFAULT_AGGREGATION
    )
    seconds = time.perf_counter() - began
    several = np.isin(samples.names, names[np.unique(samples.names, return_counts=True)[1] > 1])
    opened = run_trial(
        enrolled_from(samples.take(gallery & several)),
        samples.take(~(gallery & several)),
        DEFAULT_AGGREGATION,
    )
    pairs = pair_figures(samples, str(lfw / "pairs.txt"))
    drawn = [open_set(samples, seed, DEFAULT_AGGREGATION) for seed in range(10)]
    again = np.array([[figures.dir[fpir] for fpir in FPIRS] for figures in drawn])
    return {
        "pairs": asdict(pairs) if pairs else None,
        "accuracy": float(np.mean(pairs.accuracy)) if pairs else None,
        "accuracy_sd": float(np.std(pairs.accuracy, ddof=1)) if pairs else None,
        "identification": closed_set(closed) | {"search_seconds": seconds},
        "open_set": {
            "gallery": len(opened.enrolled.names),
            "mated": int(opened.mated.sum()),
            "strangers": int((~opened.mated).sum()),
            **open_figures(opened),
        },
        "open_set_drawn_again": {
            "draws": len(drawn),
            "dir_mean": dict(zip(map(str, FPIRS), again.mean(axis=0).tolist(), strict=True)),
            "dir_sd": dict(zip(map(str, FPIRS), again.std(axis=0, ddof=1).tolist(), strict=True)),
        },
    }


def _distorted(job: tuple[Path, Path, str, int, int]) -> None:
    from facedb.training.distortions import distort

    photo, target, kind, severity, seed = job
    pixels = distort(load_photo(str(photo)).pixels, kind, severity, seed)
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(target, quality=95)


def distorted_photos(
    photos: Sequence[Path], kind: str, severity: int, cache: Path, seed: int
) -> list[Path]:
    """Distorted copies as files, made once; each photo has a seed of its own."""
    folder = cache / "distorted" / f"{kind}_{severity}_{seed}"
    targets = [folder / photo.parent.name / f"{photo.stem}.jpg" for photo in photos]
    jobs = [
        (photo, target, kind, severity, seed + row)
        for row, (photo, target) in enumerate(zip(photos, targets, strict=True))
        if not target.exists()
    ]
    if jobs:
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            made = pool.map(_distorted, jobs, chunksize=32)
            with click.progressbar(made, length=len(jobs), label=f"{kind} {severity}") as bar:
                for _ in bar:
                    pass
    return targets


def _same_probes(cache: Path, asked: Sequence[Path], seed: int) -> None:
    """A photo's distortion depends on its place among the probes, so a cache serves one draw."""
    mark = cache / "distorted" / f"probes_{seed}.txt"
    names = "".join(f"{photo.name}\n" for photo in asked)
    if mark.exists() and mark.read_text(encoding="utf-8") != names:
        raise click.ClickException(f"{cache}: holds other probes, distorted; name another --cache")
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(names, encoding="utf-8")


def conditions(severities: Sequence[int]) -> Iterator[tuple[str, int]]:
    yield from ((kind, severity) for severity in severities for kind in KINDS)


def matrix_row(gallery: Samples, probes: Samples) -> dict[str, Any]:
    trial = run_trial(enrolled_from(gallery), probes, DEFAULT_AGGREGATION, held_out=True)
    return closed_set(trial) | open_figures(trial)


def matrix(
    gallery: Samples, versions: dict[str, Samples], only: int | None = None
) -> dict[str, Any]:
    """A row a version, and the mean over the kinds of each severity."""
    rows = {
        label: matrix_row(gallery, probes)
        for label, probes in versions.items()
        if only is None or label == "clean" or label.endswith(f"-{only}")
    }
    means: dict[str, dict[str, float]] = {}
    for severity in sorted({label.rpartition("-")[2] for label in rows} - {"clean"}):
        among = [row for label, row in rows.items() if label.endswith(f"-{severity}")]
        means[severity] = {
            "rank_1": float(np.mean([row["rank"]["1"] for row in among])),
            "dir_at_0.01": float(np.mean([row["dir"]["0.01"] for row in among])),
        }
    return {"rows": rows, "mean": means}


def _several(names: NDArray[np.str_]) -> NDArray[np.str_]:
    found, number = np.unique(names, return_counts=True)
    return found[number > 1]


class _Seen:
    """Photos through a peer's eyes."""

    def __init__(self, peer: str, models: Path, detector: Detector, cache: Path) -> None:
        self._encoder = None if peer == "dlib" else open_peer(peer, models)
        self._detector, self._cache = detector_of(peer, detector, models), cache
        self.name = "dlib" if self._encoder is None else self._encoder.name
        self.fingerprint = "dlib" if self._encoder is None else self._encoder.fingerprint

    def of(self, photos: Sequence[Path], label: str) -> Samples:
        if self._encoder is None:
            return samples_of(photos, by_dlib(photos, self._cache, label))
        cut = crops_of(photos, self._detector, self._cache, label)
        return samples_of(photos, embedded(*cut, self._encoder, self._cache, label))


@click.command(cls=Script, help=__doc__)
@click.option("--lfw", type=click.Path(path_type=Path), default=SHARED / "data/lfw")
@click.option("--models", type=click.Path(path_type=Path), default=SHARED / "models")
@click.option("--detector", default="bundled", show_default=True, help="Of the bundled encoder.")
@click.option("--peer", "peers", multiple=True, default=(*PEERS, "dlib"), show_default=True)
@click.option("--severity", "severities", multiple=True, type=int, default=(DEFAULT_SEVERITY,))
@click.option("--clean-only", is_flag=True, help="Without distortions.")
@click.option("--probes", default=1000, show_default=True, help="How many to distort.")
@click.option("--seed", default=0, show_default=True)
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="Scratch folder.")
@click.option("--write-card", is_flag=True, help="Put rank-1 by distortion into the bundle's card.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "evaluation-lfw.json")
def main(
    lfw: Path,
    models: Path,
    detector: str,
    peers: tuple[str, ...],
    severities: tuple[int, ...],
    clean_only: bool,
    probes: int,
    seed: int,
    cache: Path,
    write_card: bool,
    out: Path,
) -> None:
    if write_card and "bundled" not in peers:
        raise click.UsageError("--write-card tells of the bundled encoder: add --peer bundled")
    begun, opened = circumstances(seed), open_detector(detector)
    photos = sorted((lfw / "images").glob("*/*.webp"))
    first = np.array([photo.stem.endswith("_0001") for photo in photos])
    rest = np.flatnonzero(~first)
    drawn = rest[np.sort(np.random.default_rng(seed).choice(len(rest), probes, replace=False))]
    asked = [photos[row] for row in drawn]
    if not clean_only:
        _same_probes(cache, asked, seed)
    copies = {
        f"{kind}-{severity}": distorted_photos(asked, kind, severity, cache, seed)
        for kind, severity in conditions(() if clean_only else severities)
    }
    names = np.array([photo.parent.name for photo in photos])
    several = np.isin(names, _several(names))
    figures: dict[str, Any] = {}
    for peer in peers:
        seen = _Seen(peer, models, opened, cache)
        if peer == "dlib":
            gallery = seen.of([photos[row] for row in np.flatnonzero(first & several)], "gallery")
            whole: dict[str, Any] = {}
            probes_clean = seen.of(asked, "clean")
        else:
            everyone = seen.of(photos, "lfw")
            gallery, whole = everyone.take(first), clean_figures(everyone, lfw)
            probes_clean = everyone.take(drawn)
        versions = {"clean": probes_clean} | {
            label: seen.of(files, label)
            for label, files in copies.items()
            if peer != "dlib" or label.endswith(f"-{DEFAULT_SEVERITY}")
        }
        beside = gallery.take(np.isin(gallery.names, names[several]))
        figures[peer] = whole | {
            "encoder": seen.name,
            "encoder_fingerprint": seen.fingerprint,
            "beside_dlib": matrix(beside, versions, only=DEFAULT_SEVERITY),
        }
        if peer != "dlib":
            figures[peer]["distorted"] = matrix(gallery, versions)
        show(peer, figures[peer])
        # After each peer: what takes an hour is not lost with the last of them.
        named = {"detector": opened.fingerprint, "aggregation": DEFAULT_AGGREGATION}
        finish({**begun, **named, **figures}, [], out)
    if write_card:
        with bundled_card() as card:
            card["measured"] |= measured_of(figures["bundled"])


def measured_of(figures: dict[str, Any]) -> dict[str, Any]:
    """What the card says: pairs, identification, and rank-1 by distortion with its mean."""
    rank_1 = {label: row["rank"]["1"] for label, row in figures["distorted"]["rows"].items()}
    means = {
        f"mean of severity {severity}": mean["rank_1"]
        for severity, mean in figures["distorted"]["mean"].items()
    }
    left_out = ("rank_1_interval", "search_seconds")
    return {
        "lfw": {
            "n": figures["pairs"]["pairs"],
            "accuracy": figures["accuracy"],
            "standard_deviation": figures["accuracy_sd"],
        },
        "lfw_identification": {
            name: value for name, value in figures["identification"].items() if name not in left_out
        },
        "lfw_distorted_rank_1": rank_1 | means,
    }


def show(peer: str, figures: dict[str, Any]) -> None:
    lines: list[Sequence[object]] = [("", "rank-1", "DIR at 1 %")]
    if "open_set" in figures:
        rank = figures["identification"]["rank"]["1"]
        lines.append(("clean, all", rank, figures["open_set"]["dir"]["0.01"]))
    for group in ("distorted", "beside_dlib"):
        for label, row in figures.get(group, {"rows": {}})["rows"].items():
            lines.append((f"{group} {label}", row["rank"]["1"], row["dir"]["0.01"]))
    accuracy = figures.get("accuracy")
    table(peer if accuracy is None else f"{peer}: pairs {accuracy:.4f}", lines)


if __name__ == "__main__":
    main()
