"""The distortion matrix: how well distorted copies of photos are recognised, by kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facedb.aggregation import Aggregation
from facedb.evaluation.intervals import Interval
from facedb.evaluation.metrics import rank_k
from facedb.evaluation.samples import Samples
from facedb.evaluation.trial import Enrolled, run_trial

CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class DistortionRow:
    """One kind of distortion (and severity, where the file's name says one).

    Attributes:
        kind: "blurred", ...; "clean" for the photos as they were taken.
        probes: how many photos.
        without_face: how many of them showed no face; they count as misses.
        same_photo: rank-1 where the photo that the probe was made of is enrolled: copy detection.
        cross_photo: rank-1 where it is not, but another of the person is; interval: its 95 %.
        mated: how many probes `cross_photo` counts.
        dir_1, dir_10: DIR across photos at an FPIR of 1 % and 10 %. Strangers are the same probes
            with their person held out of the gallery, under the same distortion.
    """

    kind: str
    probes: int
    without_face: int
    same_photo: float | None
    cross_photo: float | None
    interval: Interval | None
    mated: int
    dir_1: float | None
    dir_10: float | None


def distortion_matrix(
    enrolled: Enrolled, samples: Samples, aggregation: Aggregation
) -> tuple[DistortionRow, ...]:
    """A row a kind, the clean photos first; empty where no photo is distorted."""
    kinds = sorted(set(samples.kinds.tolist()) - {""})
    if not kinds:
        return ()
    return tuple(
        _row(enrolled, samples.take(samples.kinds == kind), kind or CLEAN, aggregation)
        for kind in ["", *kinds]
        if (samples.kinds == kind).any()
    )


def _row(enrolled: Enrolled, probes: Samples, kind: str, aggregation: Aggregation) -> DistortionRow:
    same = run_trial(enrolled, probes, aggregation, hide=False)
    there = same.mated & np.isin(probes.origins, enrolled.digests)
    cross = run_trial(enrolled, probes, aggregation, held_out=True)
    hits = cross.outcome.ranks == 1
    known = bool(cross.mated.any())
    return DistortionRow(
        kind=kind,
        probes=len(probes),
        without_face=int((~probes.shown).sum()),
        same_photo=rank_k(same.outcome.ranks[there], [1])[1] if there.any() else None,
        cross_photo=float(hits[cross.mated].mean()) if known else None,
        interval=cross.interval(hits, cross.mated) if known else None,
        mated=int(cross.mated.sum()),
        dir_1=cross.dir_at(0.01) if known else None,
        dir_10=cross.dir_at(0.1) if known else None,
    )
