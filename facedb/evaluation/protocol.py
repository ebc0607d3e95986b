"""`evaluate DIR`: which photos are probes of whom, and how often the answers are right."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from facedb import __version__
from facedb.aggregation import Aggregation
from facedb.errors import InputError
from facedb.evaluation import figures
from facedb.evaluation.calibrate import photos_digest
from facedb.evaluation.distortions import DistortionRow, distortion_matrix
from facedb.evaluation.intervals import Interval
from facedb.evaluation.layouts import Layout, layout_of
from facedb.evaluation.lfw import LfwFigures, lfw_figures
from facedb.evaluation.samples import Eyes, Samples, read_samples
from facedb.evaluation.splits import Split, once, rows_of, split_digest, split_of
from facedb.evaluation.trial import Enrolled, Trial, enrolled_from, run_trial, tried_in
from facedb.identify import FaceDB
from facedb.operating import shipped
from facedb.photos import Refusal
from facedb.store import Measurements
from facedb.types import Progress

_logger = logging.getLogger("facedb")

_COMPARED = 300_000  # pairs of names, which take a second
_ALIKE = 0.8  # difflib's share of letters in common: "Laura B" has 0.83 of "Laura"


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """How often the answers were right.

    Attributes:
        protocol: "gallery": against the people enrolled; "leave-one-out": each photo against all
            others of the folder, since none of its people is enrolled; "folders": against the
            folder's own gallery; "split": against photos drawn from it; "lfw": the open set of
            Labeled Faces in the Wild.
        identities, templates: who was to be enrolled in the gallery that was searched, and by how
            many photos they were.
        failures_to_enroll: identities without a template, since no photo of them showed a face;
            their probes are misses (ISO/IEC 19795-1).
        mated: probes whose person is enrolled.
        non_mated: probes of strangers.
        failures_to_acquire_mated, failures_to_acquire_non_mated: how many of these show no face
            or cannot be read.
        unused: the user's gallery where it was not searched, since nobody of the folder is enrolled
            in it; else "".
        not_enrolled: where the gallery is the user's, the names of the folders whose photos are
            non-mated; meant: for those the enrolled name that looks like it, where one does, of as
            many as can be compared in a second.
        rank: k -> share of mated probes whose person is among the k nearest, in [0, 1].
        threshold: the largest distance that accepts; None when nobody calibrated one.
        tpir: share of mated probes identified at the threshold (1 - FNIR); None without one.
        fpir: share of non-mated probes accepted at it; None without it or without strangers.
        macro_f1: the mean over people of the F1 of the nearest identity, over mated probes; the
            top-1 beside it is rank-1.
        dir: FPIR -> DIR at the threshold that these strangers set, for as small an FPIR as so many
            different people can tell (3 / FPIR); empty without mated probes.
        dir_threshold: FPIR -> that threshold.
        strangers: whose distances set it: "non-mated probes", or "held out": the probes' own
            people, each taken out of the gallery in turn.
        intervals: 95 % by person, of "rank-k", "tpir", "fpir" and "dir at FPIR"; never narrower
            than so many people allow, see `share_interval`.
        distortions: the distortion matrix; empty where no photo is a distorted copy.
        lfw: further figures of LFW; None elsewhere.
        aggregation: how the distances to a person's templates became one.
        encoder, encoder_fingerprint, detector: what was measured.
        gallery_sha256, probes_sha256: digests of the photos, see `photos_digest`.
        refused: photos that could not be read, or show no usable face. A mated one counts as a miss
            (failure to acquire), a non-mated one as a stranger turned away.
        enrolled: photos left out, since they are in the gallery themselves.
        trained_on: photos left out, since the encoder was trained on them.
        seed, split_sha256: what drew the gallery, and the digest of the split's file; None where
            nothing was drawn.
        version: of facedb.
        seconds: wall time.
    """

    protocol: str
    identities: int
    templates: int
    failures_to_enroll: int
    mated: int
    non_mated: int
    failures_to_acquire_mated: int
    failures_to_acquire_non_mated: int
    unused: str
    not_enrolled: tuple[str, ...]
    meant: dict[str, str]
    rank: dict[int, float]
    threshold: float | None
    tpir: float | None
    fpir: float | None
    macro_f1: float | None
    dir: dict[float, float]
    dir_threshold: dict[float, float]
    strangers: str
    intervals: dict[str, Interval]
    distortions: tuple[DistortionRow, ...]
    lfw: LfwFigures | None
    aggregation: Aggregation
    encoder: str
    encoder_fingerprint: str
    detector: str
    gallery_sha256: str
    probes_sha256: str
    refused: tuple[Refusal, ...]
    enrolled: int
    trained_on: int
    seed: int | None
    split_sha256: str | None
    version: str
    seconds: float


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """How to evaluate.

    Attributes:
        ks: the ranks to report.
        split: a file: gallery and probes are drawn from the folder and stored there, or taken as
            they were stored.
        seed: of the draw; None enrolls the first photo of each person, or takes what is stored.
        force: take photos for probes that the encoder was trained on.
        keep: keep the probes' embeddings in the gallery, so that doing it again is quick.
        strangers: search the user's gallery though nobody of the folder is enrolled in it.
    """

    ks: Sequence[int] = (1, 5, 10)
    split: str | None = None
    seed: int | None = None
    force: bool = False
    keep: bool = False
    strangers: bool = False


def evaluate(
    db: FaceDB, folder: str, ks: Sequence[int] = (1, 5, 10), progress: Progress | None = None
) -> EvaluationReport:
    """Identify every photo of a folder of people and compare with the folder's name.

    A probe whose person is enrolled is mated, any other is non-mated. When nobody in the folder
    is enrolled, each photo is searched among all the others, and is mated when its person has
    another photo there. A photo that is in the gallery itself is never a probe. Folders that
    bring their own gallery are understood, see `layout_of`.

    Raises:
        InputError: the folder holds no photos of people, or none that is not in the gallery.
    """
    return run_evaluation(db, folder, EvaluationOptions(ks), progress)[0]


def run_evaluation(
    db: FaceDB, folder: str, options: EvaluationOptions, progress: Progress | None = None
) -> tuple[EvaluationReport, Trial]:
    """As `evaluate`, with options, and with the search itself for a report to draw."""
    began = time.monotonic()
    layout = layout_of(folder)
    _check(db, layout, options)
    aggregation = db.settings.aggregation
    keep = Measurements(db.gallery.store) if options.keep else None
    samples = read_samples(
        layout.gallery + layout.probes, Eyes(db.detector, db.encoder, keep), progress
    )
    gallery, probes = _parts(samples, len(layout.gallery))
    probes, trained_on = (probes, 0) if options.force else _untrained(db, probes)
    found = _search(db, layout, gallery, probes, options)
    trial, protocol = found.trial, found.protocol
    clean = protocol in ("split", "lfw")
    threshold = _threshold(db, trial, protocol)
    unknown = _not_enrolled(trial) if protocol == "gallery" else ()
    report = EvaluationReport(
        protocol=protocol,
        identities=len(trial.enrolled.names),
        templates=len(trial.enrolled.owners),
        failures_to_enroll=trial.enrolled.without_template,
        mated=int(trial.mated.sum()),
        non_mated=int((~trial.mated).sum()),
        failures_to_acquire_mated=int((trial.mated & ~trial.probes.shown).sum()),
        failures_to_acquire_non_mated=int((~trial.mated & ~trial.probes.shown).sum()),
        unused=found.unused,
        not_enrolled=unknown,
        meant=_meant(unknown, trial.enrolled),
        rank=figures.ranks(trial, options.ks),
        threshold=threshold,
        tpir=figures.tpir(trial, threshold),
        fpir=figures.fpir(trial, threshold),
        macro_f1=figures.macro_f1(trial),
        dir={wanted: trial.dir_at(wanted) for wanted in trial.measurable},
        dir_threshold={wanted: trial.threshold_at(wanted) for wanted in trial.measurable},
        strangers="held out" if trial.held_out else "non-mated probes",
        intervals=figures.intervals(trial, options.ks, threshold),
        distortions=() if clean else distortion_matrix(trial.enrolled, probes, aggregation),
        lfw=lfw_figures(probes, folder, aggregation) if protocol == "lfw" else None,
        aggregation=aggregation,
        encoder=db.encoder.name,
        encoder_fingerprint=db.encoder.fingerprint,
        detector=db.detector.fingerprint,
        gallery_sha256=photos_digest(trial.enrolled.digests.tolist()),
        probes_sha256=photos_digest(trial.probes.digests.tolist()),
        refused=samples.refused,
        enrolled=found.left_out,
        trained_on=trained_on,
        seed=None if found.split is None else found.split.seed,
        split_sha256=None if found.split is None else split_digest(found.split),
        version=__version__,
        seconds=time.monotonic() - began,
    )
    return report, trial


def _check(db: FaceDB, layout: Layout, options: EvaluationOptions) -> None:
    """InputError, or GalleryMissing, where options ask for what is not there; before any work."""
    if options.strangers and (options.split is not None or layout.protocol != "gallery"):
        raise InputError(
            f"--strangers: {layout.folder} brings a gallery of its own; leave one or the other out"
        )
    if options.seed is not None and options.split is None and layout.protocol != "lfw":
        raise InputError(f"--seed {options.seed}: nothing is drawn here; give --split FILE too")
    if options.strangers and not db.gallery.store.count():
        raise InputError(f"--strangers: nobody is enrolled in {db.folder}")


def _parts(samples: Samples, gallery: int) -> tuple[Samples, Samples]:
    rows = np.arange(len(samples))
    return samples.take(rows[:gallery]), samples.take(rows[gallery:])


def _untrained(db: FaceDB, probes: Samples) -> tuple[Samples, int]:
    """The probes that the encoder's card does not list as trained on, and how many it does."""
    listed = db.encoder.card.get("training", {}).get("photos_sha256", ())
    seen = np.isin(probes.digests, np.array(listed, dtype=np.str_))
    seen |= np.isin(probes.origins, np.array(listed, dtype=np.str_))
    if len(probes) and seen.all():
        raise InputError(
            f"the encoder {db.encoder.name} was trained on every one of these photos; figures on "
            "them would say nothing: give others, or --force"
        )
    return (probes.take(~seen), int(seen.sum())) if seen.any() else (probes, 0)


@dataclass(frozen=True, slots=True)
class _Searched:
    """A search, by which protocol, how many photos were left out as enrolled, what drew it.

    And the gallery that was not searched.
    """

    trial: Trial
    protocol: str
    left_out: int = 0
    split: Split | None = None
    unused: str = ""


def _search(
    db: FaceDB, layout: Layout, gallery: Samples, probes: Samples, options: EvaluationOptions
) -> _Searched:
    aggregation, clean = db.settings.aggregation, _clean(probes)
    if options.split is not None or layout.protocol == "lfw":
        clean = once(clean)
        split = split_of(clean, options.split, options.seed)
        asked = rows_of(clean, (*split.mated, *split.strangers))
        enrolled = enrolled_from(clean.take(rows_of(clean, split.gallery)))
        name = "lfw" if layout.protocol == "lfw" else "split"
        return _Searched(run_trial(enrolled, clean.take(asked), aggregation), name, split=split)
    if layout.protocol == "folders":
        trial = run_trial(enrolled_from(_clean(gallery)), clean, aggregation)
        return _Searched(trial, "folders")
    known = tried_in(db.gallery) if db.exists else None
    if known is not None and (options.strangers or _anybody(known, probes)):
        return _in_gallery(db, known, clean, layout.folder)
    trial = run_trial(enrolled_from(clean), clean, aggregation, held_out=True)
    unused = "" if known is None else str(db.folder)
    return _Searched(trial, "leave-one-out", unused=unused)


def _in_gallery(db: FaceDB, known: Enrolled, clean: Samples, folder: str) -> _Searched:
    own = np.isin(clean.digests, known.digests)
    if own.any() and not clean.shown[~own].any():
        raise InputError(
            f"{folder}: nothing to measure: every photo here that shows a face is in the gallery "
            "already; keep photos apart that you do not index"
        )
    trial = run_trial(known, clean.take(~own), db.settings.aggregation)
    _warn_when_calibrated_on(db, trial)
    return _Searched(trial, "gallery", int(own.sum()))


def _warn_when_calibrated_on(db: FaceDB, trial: Trial) -> None:
    point = db.operating.calibrated
    if point is None or db.settings.threshold is not None:
        return
    strangers = trial.probes.digests[~trial.mated & trial.probes.shown]
    if photos_digest(strangers.tolist()) == point.strangers_sha256:
        _logger.warning(
            "these strangers are the photos that the threshold was calibrated on: FPIR is the "
            "calibrated one by construction, whatever the encoder is worth; evaluate on others"
        )


def _anybody(enrolled: Enrolled, probes: Samples) -> bool:
    return any(name in enrolled.leads_to for name in np.unique(probes.names).tolist())


def _not_enrolled(trial: Trial) -> tuple[str, ...]:
    names = set(trial.probes.names[trial.owners < 0].tolist())
    return tuple(sorted(names, key=str.casefold))


def _meant(names: Sequence[str], enrolled: Enrolled) -> dict[str, str]:
    """The enrolled names that these may be written for: "Laura B" for "Laura"."""
    known = {name.casefold(): name for name in enrolled.leads_to}
    asked = names[: _COMPARED // max(1, len(known))]
    near = {name: get_close_matches(name.casefold(), known, 1, _ALIKE) for name in asked}
    return {name: known[found[0]] for name, found in near.items() if found}


def _clean(samples: Samples) -> Samples:
    """The photos as they were taken; all of them where every one is a distorted copy."""
    clean = samples.kinds == ""
    return samples.take(clean) if clean.any() else samples


def _threshold(db: FaceDB, trial: Trial, protocol: str) -> float | None:
    """The gallery's for its own people; for others, the encoder's for so many."""
    if protocol == "gallery":
        return db.threshold
    found = shipped(db.encoder, len(trial.enrolled.names), db.settings.aggregation)
    return db.overridden(found).threshold
