"""The trials of a search: what each drew and reached, the table, the best, the figures."""

from __future__ import annotations

import csv
import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from facedb.training.recipes import OF_THE_NETWORK, RECIPES, Recipe
from facedb.training.request import TrainRequest

COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
_LOGARITHMIC: Final = ("learning_rate", "weight_decay", "batch_size", "dim")


@dataclass(frozen=True, slots=True)
class TrialRow:
    """A trial that has ended.

    Attributes:
        number: counted from 1.
        state: COMPLETE, PRUNED (ended early) or FAILED.
        value: of the figure searched for, in [0, 1]; the last one of a pruned trial; NaN when
            there is none.
        params: what was drawn.
        epochs: how many were trained in the call that ended it.
        seconds: wall time of that call.
        error: why it failed, or "".
    """

    number: int
    state: str
    value: float
    params: dict[str, Any]
    epochs: int
    seconds: float
    error: str


@dataclass(frozen=True, slots=True)
class TuneReport:
    """What a search found.

    Attributes:
        out: the folder of the search: trials.csv, best.json, history.png, parallel.png, a run
            folder a trial in trials/.
        select: the validation figure that was searched for.
        trials: of this search, in all calls.
        pruned, failed: how many of them were ended early, and stopped by an error.
        best_trial: counted from 1.
        best_value: of `select`, in [0, 1].
        begun: the same figure of the encoder that every trial begins from, or None.
        best: what the best trial drew.
        command: the command line that trains it.
    """

    out: str
    select: str
    trials: int
    pruned: int
    failed: int
    best_trial: int
    best_value: float
    begun: float | None
    best: dict[str, Any]
    command: str


def command_of(run: TrainRequest, recipe: Recipe) -> str:
    """The `facedb train` line of a recipe on the photos of a run."""
    ignored = OF_THE_NETWORK if recipe.begin else ()
    values = {name: value for name, value in asdict(recipe).items() if name not in ignored}
    differing = {
        name: {field: value for field, value in values.items() if value != named[field]}
        for name, named in ((name, asdict(made)) for name, made in RECIPES.items())
    }
    name = min(differing, key=lambda name: len(differing[name]))
    words = ["facedb", "train", str(run.data), "--recipe", name]
    for field, value in differing[name].items():
        option = field.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", str(value)]
    for option, given in (("val", run.val), ("teacher-detector", run.teacher_detector)):
        words += [f"--{option}", str(given)] if given is not None else []
    return shlex.join([*words, "--detector", run.detector])


def write_table(file: Path, trials: Sequence[TrialRow], select: str) -> None:
    """A row a trial, as CSV."""
    drawn = list(trials[0].params) if trials else []
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["trial", "state", select, *drawn, "epochs", "seconds", "error"])
        for row in trials:
            value = "" if math.isnan(row.value) else row.value
            end = [row.epochs, round(row.seconds, 1), row.error]
            writer.writerow([row.number, row.state, value, *row.params.values(), *end])


def write_best(file: Path, report: TuneReport, recipe: Recipe) -> None:
    """The report, and the whole recipe of the best trial, as JSON."""
    record = asdict(report) | {"recipe": asdict(recipe)}
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    file.write_text(text + "\n", encoding="utf-8")


def draw(out: Path, trials: Sequence[TrialRow], select: str) -> None:
    """`history.png` and `parallel.png`; needs a trial that is complete."""
    from facedb.training.figures import parallel_coordinates, search_history

    values = np.array([row.value for row in trials])
    pruned = np.array([row.state == PRUNED for row in trials])
    search_history(values, pruned, select.replace("_", " "), out / "history.png")
    whole = [row for row in trials if row.state == COMPLETE]
    columns = {
        name: np.array([float(row.params[name]) for row in whole]) for name in whole[0].params
    }
    columns[select] = np.array([row.value for row in whole])
    parallel_coordinates(columns, _LOGARITHMIC, out / "parallel.png")
