"""Train: photos of people in, a run folder with an encoder bundle out.

Running the same request again goes on where a killed run was, to the same result.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facedb.device import Device
from facedb.errors import DependencyMissing, TrainingError
from facedb.training import checkpoint
from facedb.training.ahead import ahead
from facedb.training.batches import Batch, Loader, draw, pictures_of, renewed
from facedb.training.data import Faces, apart
from facedb.training.finish import finish
from facedb.training.learner import Learner, NotFinite, rate_at
from facedb.training.lessons import answers_of, teacher_of
from facedb.training.losses import Seen
from facedb.training.networks import decides, settled
from facedb.training.ready import can_select, read, spare, tell_who_teaches
from facedb.training.recipes import check
from facedb.training.request import EpochRow, TrainReport, TrainRequest
from facedb.training.samplers import crossing_share
from facedb.training.teacher import Answers, Memory
from facedb.training.validation import validate

_logger = logging.getLogger("facedb")
SAVE_EVERY = 120.0  # seconds that a kill may cost
_STEP_ROWS = 2000  # at most about so many rows in steps.csv


def train(request: TrainRequest) -> TrainReport:
    """Train, validate each epoch, keep the best, and leave a run folder.

    Raises:
        InputError: the photos or the options cannot be used.
        EncoderError: the network cannot be made.
        TrainingError: the loss is no number, or the memory is too small.
    """
    began = time.monotonic()
    recipe = settled(request.recipe)
    check(recipe)
    spare(request, recipe)
    device = resolved(request.device)
    faces, proof = read(request, recipe)
    shared = apart(faces, proof)
    tell_who_teaches(faces, shared, recipe.sampler)
    can_select(recipe, proof)
    request.make_folder()
    teacher = teacher_of(request, recipe, device)
    asking = request.telling("asking the teacher")
    answers = answers_of(request, recipe, faces, teacher, asking)
    memory = None
    if teacher is not None and answers is None:
        memory = Memory(teacher, pictures_of(faces), "hints" in recipe.loss)
    learner = Learner(recipe, len(faces.names), device, teacher.channels if teacher else 1)
    run = _Run(request, learner, faces, proof, answers, memory)
    run.go()
    done = finish(request, recipe, faces, proof, seen=bool(shared))
    last = run.log[-1]
    return TrainReport(
        run=str(request.out),
        encoder=str(request.out / "encoder"),
        recipe=recipe,
        epochs=last.epoch,
        best_epoch=run.best_epoch,
        people=len(faces.names),
        photos=len(faces),
        val_people=len(proof.names),
        val_photos=len(proof),
        seen_in_training=bool(shared),
        metrics=done.validation.metrics,
        thumbnail=done.thumbnail.metrics,
        begun=done.begun.metrics if done.begun else None,
        worse=done.verdict.worse,
        better=done.verdict.better,
        verdict=done.verdict.words,
        by_distortion=done.validation.by_distortion,
        threshold=done.threshold,
        gallery=done.gallery,
        caveat=done.caveat,
        no_quality=done.no_quality,
        parameters=done.parameters,
        waiting=last.waiting,
        images_per_second=last.images_per_second,
        left_out=tuple((item.path, item.reason) for item in (*faces.left_out, *proof.left_out)),
        seconds=time.monotonic() - began,
    )


def resolved(device: Device) -> str:
    """ "cpu" or "cuda".

    Raises:
        DependencyMissing: cuda was asked for and there is none.
    """
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise DependencyMissing("--device cuda: torch finds no GPU here; leave the option out")
    return "cuda" if there and device != "cpu" else "cpu"


class _Run:
    """A run between its first step and its last."""

    def __init__(
        self,
        request: TrainRequest,
        learner: Learner,
        faces: Faces,
        proof: Faces,
        answers: Answers | None,
        memory: Memory | None,
    ) -> None:
        self.request, self.learner, self.faces, self.proof = request, learner, faces, proof
        recipe = self.recipe = learner.recipe
        self.loader = Loader(faces, recipe, request.workers)
        self.answers, self.memory = answers, memory
        self.epoch, self.step, self.steps, self.total = 0, 0, 0, 0.0
        self.log: list[EpochRow] = []
        self.step_rows: list[tuple[int, float, float]] = []
        self.best, self.best_epoch = float("-inf"), 0
        self.file = request.out / "checkpoint.pt"
        self.belongs = decides(request, recipe) | {
            "photos": digest_of([*faces.digests, *proof.digests])
        }
        self._restore()

    def go(self) -> None:
        """Epoch after epoch, until the last or until patience ends."""
        self._write_recipe()
        while self.epoch < self.recipe.epochs and not self._patience_ended():
            batches = draw(self.faces, self.recipe, self.epoch)
            seconds, waited, images = self._train_epoch(batches)
            paired = self.recipe.sampler == "pairs"
            crossing = crossing_share(batches, self.faces.labels, self.faces.photos, paired)
            self._end_epoch(seconds, waited, images, crossing)

    def _train_epoch(self, batches: list[NDArray[np.int64]]) -> tuple[float, float, int]:
        began = saved = time.monotonic()
        if self.memory is not None and self.step == 0:
            self.memory.forget(renewed(len(self.memory.known), self.epoch, self.recipe.renew))
        waited, images, first = 0.0, 0, self.step
        source = self.loader.batches(batches, self.epoch, first, self.learner.device == "cuda")
        with self._enough_memory(), closing(ahead(source, self._told, self._lent())) as told:
            for step in range(first, len(batches)):
                asked = time.monotonic()
                crops, seen = next(told)
                waited += time.monotonic() - asked
                self._learn(crops, seen, step, len(batches))
                images += len(crops)
                self.step = step + 1
                if self.request.progress is not None:
                    words = f"epoch {self.epoch + 1}/{self.recipe.epochs}"
                    self.request.progress(words, self.step, len(batches))
                if time.monotonic() - saved > SAVE_EVERY:
                    self._save()
                    saved = time.monotonic()
        return time.monotonic() - began, waited, images

    def _lent(self) -> int:
        """Threads for the teacher, whose part of the work is a third where it is asked afresh."""
        asks = self.memory is not None and self.learner.device == "cpu"
        return max(1, torch.get_num_threads() // 3) if asks else 0

    def _learn(self, crops: Tensor, seen: Seen, step: int, of: int) -> None:
        rate = rate_at(self.recipe, self.epoch, step / of)
        try:
            loss = self.learner.step(crops, seen, rate)
        except NotFinite as error:
            raise NotFinite(
                f"epoch {self.epoch + 1}, step {self.step + 1}: {error}; {self.file} holds the "
                "last good state. Take a lower --learning-rate, --clip 1, or --precision fp32"
            ) from error
        self.steps += 1
        self.total += loss
        if self.steps % (1 + of * self.recipe.epochs // _STEP_ROWS) == 0:
            self.step_rows.append((self.steps, loss, rate))

    @contextmanager
    def _enough_memory(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            raise TrainingError(
                f"out of memory with --batch-size {self.recipe.batch_size} at --size "
                f"{self.recipe.size}: halve the batch size"
                + ("" if self.recipe.begin else ", or take a smaller --size or --network")
            ) from error

    def _told(self, batch: Batch) -> tuple[Tensor, Seen]:
        """What is learned from a batch: its crops, and who they show."""
        device, rows = self.learner.device, batch.rows.numpy()
        targets = known = hints = None
        if self.answers is not None:
            targets = torch.from_numpy(self.answers.targets[rows]).to(device)
            known = torch.from_numpy(self.answers.known[rows]).to(device)
        elif self.memory is not None and batch.clean is not None:
            told = self.memory(batch.pictures, batch.clean)
            targets, hints = (part.to(device) for part in told)
            known = torch.ones(len(rows), dtype=torch.bool, device=device)
        paired = self.recipe.sampler == "pairs"
        return batch.crops, Seen(batch.labels.to(device), paired, targets, known, hints)

    def _end_epoch(self, seconds: float, waited: float, images: int, crossing: float) -> None:
        steps = max(1, self.step)
        embeddings = self.learner.embed(torch.from_numpy(self.proof.crops)).numpy()
        validation = validate(embeddings, self.proof)
        row = EpochRow(
            epoch=self.epoch + 1,
            steps=self.steps,
            loss=self.total / steps,
            learning_rate=rate_at(self.recipe, self.epoch, 1 - 1 / steps),
            waiting=waited / max(seconds, 1e-9),
            images_per_second=images / max(seconds, 1e-9),
            crossing=crossing,
            metrics=validation.metrics,
        )
        self.log.append(row)
        self._keep_if_best(row)
        self.epoch, self.step, self.total = self.epoch + 1, 0, 0.0
        self._save()
        self._write_logs()
        if self.request.after_epoch is not None:
            self.request.after_epoch(row)

    def _keep_if_best(self, row: EpochRow) -> None:
        value = row.metrics[self.recipe.select]
        assert value is not None  # of the same photos as those that were asked before
        if value > self.best:
            self.best, self.best_epoch = value, row.epoch
            weights = self.learner.best_network.state_dict()
            checkpoint.save(self.request.out / "best.pt", weights)

    def _patience_ended(self) -> bool:
        return 0 < self.recipe.patience <= self.epoch - self.best_epoch

    def _save(self) -> None:
        memory = self.memory
        checkpoint.save(
            self.file,
            {
                "belongs": self.belongs,
                "learner": self.learner.state(),
                "at": (self.epoch, self.step, self.steps, self.total),
                "best": (self.best, self.best_epoch),
                "log": [asdict(row) for row in self.log],
                "step_rows": self.step_rows,
                "memory": None if memory is None else memory.state(),
            },
        )

    def _restore(self) -> None:
        state = checkpoint.load(self.file, self.belongs)
        if state is None:
            return
        self.learner.restore(state["learner"])
        self.epoch, self.step, self.steps, self.total = state["at"]
        self.best, self.best_epoch = state["best"]
        self.log = [EpochRow(**row) for row in state["log"]]
        self.step_rows = [tuple(row) for row in state["step_rows"]]
        if self.memory is not None:
            self.memory.restore(state["memory"])
        if self.epoch < self.recipe.epochs:
            _logger.info("going on at epoch %d, step %d", self.epoch + 1, self.step + 1)

    def _write_recipe(self) -> None:
        text = json.dumps(asdict(self.recipe), indent=2)
        (self.request.out / "recipe.json").write_text(text + "\n", encoding="utf-8")

    def _write_logs(self) -> None:
        rows = [row.flat() for row in self.log]
        _write_csv(self.request.out / "log.csv", list(rows[0]), [list(r.values()) for r in rows])
        header = ["step", "loss", "learning_rate"]
        _write_csv(self.request.out / "steps.csv", header, self.step_rows)


def _out_of_memory(error: Exception) -> bool:
    words = str(error).lower()
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or ("memory" in words and "alloc" in words)


def digest_of(digests: Sequence[str]) -> str:
    """sha256 of the photos' digests, in order."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _write_csv(file: Path, header: list[str], rows: Sequence[Sequence[Any]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
