"""Random search for a recipe: trials drawn by Optuna, kept in SQLite, each a training run.

What trial n draws hangs on the recipe's seed and n alone, and its run folder is its own: a search
that was killed goes on inside the trial that it was killed in, to the same result.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from facedb.errors import DependencyMissing, InputError, TrainingError
from facedb.training.loop import train
from facedb.training.networks import decides, settled
from facedb.training.recipes import Recipe
from facedb.training.request import EpochRow, TrainReport, TrainRequest
from facedb.training.trials import (
    COMPLETE,
    FAILED,
    PRUNED,
    TrialRow,
    TuneReport,
    command_of,
    draw,
    write_best,
    write_table,
)

try:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
    from optuna.trial import FrozenTrial, Trial, TrialState
except ModuleNotFoundError as error:
    raise DependencyMissing(
        f"the search needs {error.name}; from a clone: pip install '.[cpu,train]'"
    ) from error

PRUNERS: Final = ("none", "median", "hyperband")
_STORE, _HEAD = "tune.sqlite", b"SQLite format 3\0"
_logger = logging.getLogger("facedb")


@dataclass(frozen=True, slots=True)
class TuneRequest:
    """What to search.

    Attributes:
        training: the run that every trial varies; its `out` is the folder of the search.
        trials: how many, those of earlier calls in the same folder among them.
        pruner: one of PRUNERS, what ends trials that fall behind. Hyperband and median judge by
            the recipe's `select` after each epoch.
    """

    training: TrainRequest
    trials: int
    pruner: str = "none"


def tune(request: TuneRequest) -> TuneReport:
    """Search; called again for the same folder, go on to `trials` in all. One process a folder.

    Raises:
        InputError: the photos or the options cannot be used, or the folder holds another search.
        EncoderError: the network cannot be made.
        TrainingError: no trial came to its end.
    """
    run = request.training
    run.make_folder()
    with _quiet(), _opened(request) as study:
        for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(left.number, state=TrialState.FAIL)
        while (number := len(_ended(study)) + 1) <= request.trials:
            _run(study, number, request)
            write_table(run.out / "trials.csv", _rows(study), run.recipe.select)
        trials = _rows(study)
        attributes = (trial.user_attrs for trial in _ended(study))
        begun = next((of["begun"] for of in attributes if "begun" in of), None)
    report = _report(request, trials, begun)
    write_best(run.out / "best.json", report, settled(replace(run.recipe, **report.best)))
    draw(run.out, trials, report.select)
    return report


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's own log, and what it says of its interfaces' age."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


@contextmanager
def _opened(request: TuneRequest) -> Iterator[optuna.Study]:
    """The study in the folder's store; its connections are closed at the end."""
    file = request.training.out / _STORE
    if file.exists() and not _is_sqlite(file):
        raise InputError(f"{file}: is no search; delete it, or name another --out")
    storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
    try:
        study = optuna.create_study(
            storage=storage,
            study_name="facedb",
            direction="maximize",
            load_if_exists=True,
            pruner=_pruner(request),
        )
        _pin(study, request)
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _is_sqlite(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(_HEAD)) in (b"", _HEAD)


def _pruner(request: TuneRequest) -> optuna.pruners.BasePruner:
    match request.pruner:
        case "none":
            return optuna.pruners.NopPruner()
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1)
        case "hyperband":
            most = request.training.recipe.epochs
            return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=most)
    raise InputError(f"--pruner {request.pruner}: take {', '.join(PRUNERS)}")


def _pin(study: optuna.Study, request: TuneRequest) -> None:
    """Trials of one search differ in what was drawn, and in nothing else.

    Raises:
        InputError: the folder's search was begun on other photos or with other options.
    """
    run = request.training
    same = decides(run, run.recipe) | {"data": str(run.data.resolve())}
    same["val"] = str(run.val.resolve()) if run.val else ""
    for name in _space(run.recipe):
        del same[name]
    known = study.user_attrs.get("same")
    if known is None:
        study.set_user_attr("same", same)
        return
    other = [name for name in same if known.get(name) != same[name]]
    if other:
        raise InputError(
            f"{run.out}: this search was begun with {other[0]} {known.get(other[0])}, not "
            f"{same[other[0]]}; name another --out, or the same options again"
        )


def _space(recipe: Recipe) -> dict[str, BaseDistribution]:
    """What is drawn, and from what; no margin or length where the recipe has no say in it."""
    sizes = [
        size for size in (16, 32, 64, 128) if recipe.sampler == "pairs" or _whole(recipe, size)
    ]
    space: dict[str, BaseDistribution] = {
        "learning_rate": FloatDistribution(1e-5, 3e-3, log=True),
        "batch_size": CategoricalDistribution(sizes),
        "weight_decay": FloatDistribution(1e-6, 1e-1, log=True),
    }
    if "contrastive" in recipe.loss:
        space["margin"] = FloatDistribution(0.5, 2.0, step=0.1)
    if not recipe.begin and "distillation" not in recipe.loss:
        space["dim"] = CategoricalDistribution([32, 64, 128, 256, 512])
    return space


def _whole(recipe: Recipe, size: int) -> bool:
    return size % recipe.photos_per_person == 0


def _ended(study: optuna.Study) -> list[FrozenTrial]:
    """All trials but those that were killed, in their order."""
    trials = study.get_trials(deepcopy=False)
    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    return [trial for trial in trials if trial.state in ended or "error" in trial.user_attrs]


def _run(study: optuna.Study, number: int, request: TuneRequest) -> None:
    """One trial, from drawing to telling; `number` counts from 1."""
    base = request.training
    seed = np.random.SeedSequence([base.recipe.seed, number]).generate_state(1)[0]
    study.sampler = optuna.samplers.RandomSampler(seed=int(seed))
    trial = study.ask(_space(base.recipe))
    out = base.out / "trials" / f"{number:04}"
    run = replace(
        base,
        out=out,
        recipe=replace(base.recipe, **_rounded(trial.params)),
        draw=False,
        quality=False,
        after_epoch=_after_epoch(trial, base),
        progress=_progress(base, f"trial {number} of {request.trials}"),
    )
    words = ", ".join(f"{name} {value:g}" for name, value in _rounded(trial.params).items())
    _logger.info("trial %d of %d: %s", number, request.trials, words)
    try:
        report = train(run)
        if report.begun is not None:
            trial.set_user_attr("begun", report.begun[report.recipe.select])
        value = _value(report)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except TrainingError as error:
        trial.set_user_attr("error", str(error))
        study.tell(trial, state=TrialState.FAIL)
        _logger.warning("trial %d failed: %s", number, error)
    else:
        study.tell(trial, value)
    (out / "checkpoint.pt").unlink(missing_ok=True)  # the largest file, and of no further use


def _rounded(params: dict[str, Any]) -> dict[str, Any]:
    """What was drawn, to three digits, which can be typed."""
    return {
        name: float(f"{value:.3g}") if isinstance(value, float) else value
        for name, value in params.items()
    }


def _value(report: TrainReport) -> float:
    value = report.metrics[report.recipe.select]
    if value is None:
        raise TrainingError(f"{report.run}: the validation photos cannot tell the --select figure")
    return value


def _after_epoch(trial: Trial, base: TrainRequest) -> Callable[[EpochRow], None]:
    def told(row: EpochRow) -> None:
        value = row.metrics[base.recipe.select]
        if value is not None:
            trial.report(value, row.epoch)
        if base.after_epoch is not None:
            base.after_epoch(row)
        if row.epoch < base.recipe.epochs and trial.should_prune():
            raise optuna.TrialPruned

    return told


def _progress(base: TrainRequest, before: str) -> Callable[[str, int, int], None] | None:
    tell = base.progress
    return None if tell is None else lambda words, *of: tell(f"{before}: {words}", *of)


def _rows(study: optuna.Study) -> list[TrialRow]:
    states = {TrialState.COMPLETE: COMPLETE, TrialState.PRUNED: PRUNED, TrialState.FAIL: FAILED}
    return [
        TrialRow(
            number=number,
            state=states[trial.state],
            value=math.nan if trial.value is None else trial.value,
            params=_rounded(trial.params),
            epochs=len(trial.intermediate_values),
            seconds=trial.duration.total_seconds() if trial.duration else 0.0,
            error=trial.user_attrs.get("error", ""),
        )
        for number, trial in enumerate(_ended(study), 1)
    ]


def _report(request: TuneRequest, trials: list[TrialRow], begun: float | None) -> TuneReport:
    run, states = request.training, [row.state for row in trials]
    complete = [row for row in trials if row.state == COMPLETE]
    if not complete:
        raise TrainingError(
            f"{run.out}/trials.csv: none of {len(trials)} trials came to its end, and it says "
            "why. Take more --trials, or --pruner none"
        )
    best = max(complete, key=lambda row: row.value)
    return TuneReport(
        out=str(run.out),
        select=run.recipe.select,
        trials=len(trials),
        pruned=states.count(PRUNED),
        failed=states.count(FAILED),
        best_trial=best.number,
        best_value=best.value,
        begun=begun,
        best=best.params,
        command=command_of(run, replace(run.recipe, **best.params)),
    )
