"""What goes into a training run, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from facedb.device import Device
from facedb.errors import InputError
from facedb.training.recipes import Recipe
from facedb.training.validation import Metrics
from facedb.types import Progress


@dataclass(frozen=True, slots=True)
class EpochRow:
    """What an epoch was: a row of log.csv.

    Attributes:
        epoch: counted from 1.
        steps: taken so far.
        loss: mean over the epoch.
        learning_rate: at its end.
        waiting: share of the time in which the device waited for photos, in [0, 1].
        images_per_second: seen in training.
        crossing: share of positive pairs that crossed two photos.
        metrics: of the validation photos.
    """

    epoch: int
    steps: int
    loss: float
    learning_rate: float
    waiting: float
    images_per_second: float
    crossing: float
    metrics: Metrics

    def flat(self) -> dict[str, Any]:
        """Column -> value."""
        row = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        metrics: Metrics = row.pop("metrics")
        return {**row, **metrics}


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """What to train.

    Attributes:
        data: a folder per person, or a folder of `train` and `val`.
        out: the run folder.
        recipe: how.
        val: a folder per person to validate on.
        device: where.
        detector: "whole" photos, "none" for crops, "bundled", or a model file.
        teacher_detector: what cuts the teacher's crops; None takes `detector`, or where that
            cuts faces and the teacher knows whole photos, or the other way round, what it knows.
        workers: processes that prepare photos; 0 is the process itself.
        after_epoch: called with each row of the log; what it raises ends the run.
        progress: called with what is done, and with its done and total.
        with_faces: whether the report may show photos of people.
        draw: whether to draw figures and the report.
        quality: whether to fit the quality of faces for the encoder's card.
    """

    data: Path
    out: Path
    recipe: Recipe
    val: Path | None = None
    device: Device = "auto"
    detector: str = "whole"
    teacher_detector: str | None = None
    workers: int = 1
    after_epoch: Callable[[EpochRow], None] | None = None
    progress: Callable[[str, int, int], None] | None = None
    with_faces: bool = True
    draw: bool = True
    quality: bool = True

    def make_folder(self) -> None:
        """Make the run folder; InputError where nobody can write there."""
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=self.out):
                pass
        except OSError as error:
            raise InputError(
                f"{self.out}: cannot be written ({error.strerror}); name another folder: --out"
            ) from error

    def telling(self, words: str) -> Progress | None:
        """`progress` under these words."""
        tell = self.progress
        return None if tell is None else lambda done, total: tell(words, done, total)


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What training gave.

    Attributes:
        run, encoder: the run folder, and the bundle in it.
        recipe: as it was run.
        epochs: done; fewer than asked for when it stopped early.
        best_epoch: whose weights were kept: the best by the recipe's `select`.
        people, photos, val_people, val_photos: what was trained and validated on.
        seen_in_training: whether people are in both.
        metrics: the validation figures of the bundle as it lies there.
        thumbnail: those of 16 x 16 grey thumbnails.
        begun: those of the encoder that `recipe.begin` names, before it was trained on.
        worse, better: figures of `metrics`, across photos, that are so beside those of `begun`.
        verdict: the same as a sentence, or that too few people were asked; "" without `begun`.
        by_distortion: kind -> figures.
        threshold, gallery: the distance of the bundle's operating point, and how many people were
            enrolled there.
        caveat: why that may accept more, where too few people were validated on; or "".
        no_quality: why the encoder does not tell the quality of faces; or "".
        parameters: of the network.
        waiting, images_per_second: of the last epoch.
        left_out: files without a face or unreadable: path, reason.
        seconds: wall time of this call.
    """

    run: str
    encoder: str
    recipe: Recipe
    epochs: int
    best_epoch: int
    people: int
    photos: int
    val_people: int
    val_photos: int
    seen_in_training: bool
    metrics: Metrics
    thumbnail: Metrics
    begun: Metrics | None
    worse: tuple[str, ...]
    better: tuple[str, ...]
    verdict: str
    by_distortion: dict[str, Metrics]
    threshold: float
    gallery: int
    caveat: str
    no_quality: str
    parameters: int
    waiting: float
    images_per_second: float
    left_out: tuple[tuple[str, str], ...]
    seconds: float
