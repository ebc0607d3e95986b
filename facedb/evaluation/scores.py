"""An evaluation probe by probe, as CSV: what a paper draws its own curves from."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

from facedb.errors import InputError
from facedb.evaluation.trial import Trial

COLUMNS = (
    *("path", "person", "mated", "rank", "own_distance", "nearest", "nearest_distance"),
    "threshold",
)


def write_scores(trial: Trial, threshold: float | None, file: str) -> None:
    """Write a row a probe; a cell is empty where there is no such identity, face or threshold.

    `nearest` is whom the probe is taken for, which on ties is not its own person.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        with open(file, "w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(_rows(trial, "" if threshold is None else threshold))
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from error


def _rows(trial: Trial, threshold: float | str) -> Iterator[tuple[object, ...]]:
    outcome, names = trial.outcome, [*trial.enrolled.names.tolist(), ""]  # -1 is nobody
    for row, path in enumerate(trial.probes.paths):
        yield (
            path,
            trial.probes.names[row],
            int(trial.mated[row]),
            outcome.ranks[row] or "",
            _cell(float(outcome.own[row])),
            names[trial.named[row]],
            _cell(float(outcome.nearest[row])),
            threshold,
        )


def _cell(distance: float) -> float | str:
    return distance if math.isfinite(distance) else ""
