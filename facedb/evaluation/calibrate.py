"""A threshold with a measured FPIR: from strangers, or from the gallery's own people held out."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facedb.aggregation import Aggregation
from facedb.errors import InputError
from facedb.evaluation.intervals import Interval, share_interval
from facedb.evaluation.samples import Eyes, Samples, read_samples
from facedb.evaluation.trial import Enrolled, Trial, enrolled_in, run_trial
from facedb.gallery import Gallery
from facedb.photos import PersonPhoto, Refusal, walk_people
from facedb.store import Measurements, OperatingPoint
from facedb.strangers import StrangerCurve
from facedb.typed import typed
from facedb.types import Progress


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """A threshold and what it was measured on.

    Attributes:
        threshold: the largest distance that accepts, in [0, 2].
        fpir_wanted: the share of strangers that may be accepted.
        fpir: the share that was, in [0, 1]; interval: its 95 %, by person.
        people, templates: the size of the gallery that was searched.
        aggregation: how the distances to a person's templates become one.
        strangers, strangers_photos: how many people and photos it was measured on.
        held_out: whether these were the gallery's own people, held out in turn.
        enrolled: photos left out, since they or their person are enrolled.
        refused: photos that could not be read, or show no usable face; they are not counted.
        seconds: wall time.
    """

    threshold: float
    fpir_wanted: float
    fpir: float
    interval: Interval
    people: int
    templates: int
    aggregation: Aggregation
    strangers: int
    strangers_photos: int
    held_out: bool
    enrolled: int
    refused: tuple[Refusal, ...]
    seconds: float


def calibrate(
    gallery: Gallery,
    eyes: Eyes | None,
    strangers: str | None,
    fpir: float,
    aggregation: Aggregation,
    progress: Progress | None = None,
) -> CalibrationReport:
    """Find the largest observed threshold whose measured FPIR holds, and store it.

    Args:
        gallery: whose threshold it becomes.
        eyes: what reads the strangers' photos; None where there are none.
        strangers: a folder with a folder per person, or with loose photos, each then a person of
            its own; None holds the gallery's own people out in turn.
        fpir: the share of strangers that may be accepted, in (0, 1).
        aggregation: how the distances to a person's templates become one.
        progress: called with photos done and photos to do.

    Raises:
        InputError: the strangers are fewer than 3 / fpir people, or nobody is enrolled.
    """
    began = time.monotonic()
    enrolled = enrolled_in(gallery)
    if len(enrolled.names) < 2:
        raise InputError(
            f"{gallery.folder}: {len(enrolled.names)} people are enrolled; a threshold is measured "
            f"on a gallery of two or more: {typed('index', 'DIR', gallery=gallery.folder)}"
        )
    if strangers is None or eyes is None:
        trial, left_out = _held_out(enrolled, aggregation), 0
        refused: tuple[Refusal, ...] = ()
    else:
        samples = read_samples(strangers_in(strangers), eyes, progress)
        trial, left_out = _against(enrolled, samples, aggregation)
        refused = samples.refused
        if not len(trial.probes):
            raise InputError(
                f"{strangers}: no strangers here: of {len(samples):,} photos {left_out:,} are of "
                f"enrolled people, and {len(refused):,} show no usable face or cannot be read"
            )
    point = _operating_point(trial, fpir, aggregation)
    Measurements(gallery.store).put_operating_point(point)
    seconds = time.monotonic() - began
    return _report(point, trial, aggregation, left_out, refused, seconds)


def _report(
    point: OperatingPoint,
    trial: Trial,
    aggregation: Aggregation,
    left_out: int,
    refused: tuple[Refusal, ...],
    seconds: float,
) -> CalibrationReport:
    accepted = trial.stranger_distances <= point.threshold
    return CalibrationReport(
        threshold=point.threshold,
        fpir_wanted=point.fpir,
        fpir=float(accepted.mean()),
        interval=share_interval(accepted, trial.people),
        people=point.people,
        templates=point.templates,
        aggregation=aggregation,
        strangers=point.strangers,
        strangers_photos=point.strangers_photos,
        held_out=point.held_out,
        enrolled=left_out,
        refused=refused,
        seconds=seconds,
    )


def _against(enrolled: Enrolled, samples: Samples, aggregation: Aggregation) -> tuple[Trial, int]:
    """The search of strangers, and how many photos were left out as being of enrolled people."""
    known = np.isin(samples.digests, enrolled.digests)
    known |= np.isin(samples.names, list(enrolled.leads_to))
    counted = samples.shown & ~known & (samples.kinds == "")
    return run_trial(enrolled, samples.take(counted), aggregation), int(known.sum())


def strangers_in(folder: str) -> list[PersonPhoto]:
    """The photos of a folder per person, and loose photos, each of somebody else.

    Raises:
        InputError: there is no such folder, or it holds no photos.
    """
    walk = walk_people(folder)
    entries = walk.entries + [PersonPhoto(f"stranger {path}", path) for path in walk.loose]
    if not entries:
        raise InputError(f"{folder}: no photos here")
    return entries


def _held_out(enrolled: Enrolled, aggregation: Aggregation) -> Trial:
    """Every template as a probe of a gallery without its person."""
    count = len(enrolled.owners)
    own = Samples(
        enrolled.names[enrolled.owners],
        tuple([""] * count),
        enrolled.digests,
        enrolled.digests,
        np.full(count, ""),
        enrolled.vectors,
        np.ones(count, dtype=np.bool_),
        tuple([None] * count),
        tuple([None] * count),
    )
    return run_trial(enrolled, own, aggregation, held_out=True)


def _operating_point(trial: Trial, fpir: float, aggregation: Aggregation) -> OperatingPoint:
    distances, people = trial.stranger_distances, int(np.unique(trial.people).size)
    curve = StrangerCurve.observed(distances, people)
    return OperatingPoint(
        aggregation=aggregation,
        fpir=fpir,
        threshold=curve.threshold(fpir),
        people=len(trial.enrolled.names) - (1 if trial.held_out else 0),
        templates=len(trial.enrolled.owners),
        strangers=people,
        strangers_photos=len(distances),
        strangers_sha256=photos_digest(trial.probes.digests.tolist()),
        held_out=trial.held_out,
        measured_at=time.time(),
        distances=curve.distances,
        shares=curve.shares,
    )


def photos_digest(digests: Sequence[str]) -> str:
    """One sha256 for a set of photos, whatever their order: of their sorted digests, by line."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()
