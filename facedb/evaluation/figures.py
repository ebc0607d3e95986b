"""The figures of a search, each None where there is nothing to count. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence

from facedb.evaluation import metrics
from facedb.evaluation.intervals import Interval
from facedb.evaluation.trial import Trial


def ranks(trial: Trial, ks: Sequence[int]) -> dict[int, float]:
    """k -> rank-k of the mated probes; empty without any."""
    return metrics.rank_k(trial.outcome.ranks[trial.mated], ks) if trial.mated.any() else {}


def tpir(trial: Trial, threshold: float | None) -> float | None:
    """TPIR of the mated probes."""
    mated, outcome = trial.mated, trial.outcome
    if threshold is None or not mated.any():
        return None
    return metrics.tpir(outcome.ranks[mated], outcome.nearest[mated], threshold)


def fpir(trial: Trial, threshold: float | None) -> float | None:
    """FPIR of the non-mated probes."""
    if threshold is None or trial.mated.all():
        return None
    return metrics.fpir(trial.outcome.nearest[~trial.mated], threshold)


def macro_f1(trial: Trial) -> float | None:
    """Macro-F1 over mated probes of whom each is taken for."""
    if not trial.mated.any():
        return None
    return metrics.macro_f1(trial.owners[trial.mated], trial.named[trial.mated])


def intervals(trial: Trial, ks: Sequence[int], threshold: float | None) -> dict[str, Interval]:
    """What `EvaluationReport.intervals` holds."""
    ranks, mated = trial.outcome.ranks, trial.mated
    found: dict[str, Interval] = {}
    if mated.any():
        found |= {f"rank-{k}": trial.interval((ranks > 0) & (ranks <= k), mated) for k in ks}
        found |= {f"dir at {fpir:g}": trial.dir_interval(fpir) for fpir in trial.measurable}
    if threshold is not None and mated.any():
        right = (ranks == 1) & (trial.outcome.own <= threshold)
        found["tpir"] = trial.interval(right, mated)
    if threshold is not None and not mated.all():
        found["fpir"] = trial.interval(trial.outcome.nearest <= threshold, ~mated)
    return found
