"""The run: views from worker processes, one cycle of the learning rate, an average of the weights.

A run is sized by steps or by active minutes, may be killed at any moment, and goes on from its
checkpoint; sized by steps, it ends with the weights of a run that was never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from facedb.errors import InputError, TrainingError
from facedb.heap import keep_freed_memory
from facedb.training.averaging import decay_after
from facedb.training.checkpoint import load, save
from facedb.training.detector.hints import Hints
from facedb.training.detector.losses import LANDMARK_WEIGHT, Parts, distillation
from facedb.training.detector.material import Material
from facedb.training.detector.network import DetectorNetwork, as_rows
from facedb.training.detector.teacher import Answers, Maps, Teacher
from facedb.training.detector.views import SIDE, clean_view, worsened
from facedb.training.precision import make_optimizer
from facedb.types import Pixels

CHECKPOINT: Final = "detector.pt"
KEPT: Final = 2048
REUSED: Final = 4
PARTS: Final = tuple(part.name for part in fields(Parts))
_WARM: Final = 0.05
_CLIP: Final = 5.0
_DECAY: Final = 0.02
_AVERAGED: Final = 0.998
_FOREVER: Final = 10**12


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes:
        steps: how long, in batches; None is as many as the minutes allow.
        minutes: how long, in minutes of training over all runs; None is as long as it takes.
        batch: views in a batch.
        rate: the highest learning rate of Muon (Jordan, 2024; timm's).
        side: of a view in pixels, a multiple of 32.
        landmark_weight: of the landmarks' error in the loss.
        change: how often views are lit, grey or distorted, in usual shares; in [0, 2].
        frozen_norms: whether batch normalisations keep their means and variances, so that the
            weights learn to answer as they will in use: for a last run.
        seed: of the weights and the views.
        workers: processes that make views; 0 makes them in this one.
        seconds: between two checkpoints.
    """

    steps: int | None = None
    minutes: float | None = None
    batch: int = 16
    rate: float = 2e-2
    side: int = SIDE
    landmark_weight: float = LANDMARK_WEIGHT
    change: float = 1.0
    frozen_norms: bool = False
    seed: int = 0
    workers: int = 1
    seconds: float = 60.0

    def progress(self, step: int, seconds: float) -> float:
        """How much of the run is over, in [0, 1]: by steps or by minutes, whichever is more."""
        by_steps = step / self.steps if self.steps is not None else 0.0
        by_minutes = seconds / 60 / self.minutes if self.minutes is not None else 0.0
        return min(1.0, max(by_steps, by_minutes))

    def rate_at(self, progress: float) -> float:
        """A short rise, then half a cosine down to zero (one cycle; Smith and Topin, 2018)."""
        if progress < _WARM:
            return self.rate * (progress + 1e-3) / _WARM
        return self.rate * 0.5 * (1 + math.cos(math.pi * (progress - _WARM) / (1 - _WARM)))


@dataclass(frozen=True)
class Seen:
    """What a batch of a run did: for the log, and for the caller to stop at."""

    step: int
    seconds: float
    rate: float
    parts: Parts


Sample = tuple[Tensor, Tensor, Tensor]


class Views(Dataset[Sample]):
    """View number -> what the student sees, uint8[3, side, side] BGR; teacher's answers and maps.

    KEPT clean views, with their answers, come REUSED times in a row, worsened anew each time:
    cutting them and asking the teacher takes longer than a step of the student.
    """

    def __init__(
        self, material: Material, model: Path, seed: int, side: int, change: float = 1.0
    ) -> None:
        self._material, self._model, self._seed = material, model, seed
        self._side, self._change = side, change
        self._teacher: Teacher | None = None
        self._block, self._kept = 0, dict[int, tuple[Pixels, Answers, Maps]]()

    def __getitem__(self, number: int) -> Sample:
        view, answers, maps = self._clean(number // (KEPT * REUSED) * KEPT + number % KEPT)
        random = np.random.default_rng([self._seed, number, 1])
        shown = worsened(view, random, self._change).transpose(2, 0, 1)[::-1]
        return tuple(map(torch.from_numpy, (shown.copy(), answers, maps)))  # type: ignore[return-value]

    def _clean(self, number: int) -> tuple[Pixels, Answers, Maps]:
        if number in self._kept:
            return self._kept[number]
        if self._teacher is None:  # opened by the process that asks it
            cv2.setNumThreads(0)
            self._teacher = Teacher(self._model)
        if number // KEPT != self._block:
            self._block = number // KEPT
            self._kept.clear()
        random = np.random.default_rng([self._seed, number])
        view = clean_view(self._material, random, self._side, self._change)
        self._kept[number] = view, *self._teacher.look(view)
        return self._kept[number]


class Run:
    """A network on its way, and what is needed to go on with it.

    Args:
        plan: how to train; its steps and minutes may differ when a run goes on.
        begin: weights to begin from, of this network or of a less deep one.
    """

    def __init__(self, plan: Plan, begin: dict[str, Tensor] | None = None) -> None:
        torch.manual_seed(plan.seed)
        keep_freed_memory()
        self.plan = plan
        self.network = DetectorNetwork().to(memory_format=torch.channels_last)
        if begin is not None:
            self.network.begin_from(begin)
        self.hints = Hints(self.network).to(memory_format=torch.channels_last)
        self.average = {name: value.clone() for name, value in self.network.state_dict().items()}
        both = nn.ModuleList([self.network, self.hints])
        self.optimiser = make_optimizer(both, "muon", plan.rate, _DECAY)
        self.step, self.seconds = 0, 0.0

    def begin_hints(self, folder: Path) -> None:
        """Take up what brings the maps to the teacher's in a folder's checkpoint.

        Raises:
            InputError: there is no checkpoint, or it is damaged.
        """
        self.hints.load_state_dict(_state(folder)["hints"])

    def fit_hints(self, batch: Sample) -> None:
        """Find what brings the maps to the teacher's best on these views; nothing else moves."""
        views, targets, maps = batch
        self.network.eval()
        with torch.no_grad():
            _, stages, seen = self.network.look(views.float())
            self.hints.fit(stages, seen, maps, targets)

    def train(self, dataset: Views) -> Iterator[Seen]:
        """Batch after batch, until the plan is over."""
        first = self.step * self.plan.batch
        loader = DataLoader(
            dataset,
            self.plan.batch,
            sampler=range(first, _FOREVER),
            num_workers=self.plan.workers,
        )
        self.network.train(not self.plan.frozen_norms)
        batches = iter(loader)
        while (progress := self.plan.progress(self.step, self.seconds)) < 1:
            started = time.monotonic()
            rate = self.plan.rate_at(progress)
            parts = self._learn(next(batches), rate)
            self.step += 1
            self.seconds += time.monotonic() - started
            yield Seen(self.step, self.seconds, rate, parts)

    def _learn(self, batch: Sample, rate: float) -> Parts:
        views, targets, maps = batch
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        pixels = views.float().contiguous(memory_format=torch.channels_last)
        answers, stages, seen = self.network.look(pixels)
        hints = self.hints(stages, seen, maps, targets)
        parts = distillation(as_rows(answers), targets, hints)
        self.optimiser.zero_grad(set_to_none=True)
        parts.total(self.plan.landmark_weight).backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        if not math.isfinite(norm):
            raise TrainingError(
                f"step {self.step + 1}: the gradient is not finite; begin a new run, in a folder "
                "of its own, from this one's last checkpoint (--begin) at a lower --rate"
            )
        self.optimiser.step()
        self._follow()
        return parts

    def _follow(self) -> None:
        """The average goes a little towards the weights; faster while there are few to average."""
        share = 1 - decay_after(self.step, _AVERAGED)
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, share)
                else:
                    self.average[name].copy_(value)

    def keep(self, folder: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            "belongs": self._belongs(),
            "network": self.network.state_dict(),
            "hints": self.hints.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        save(folder / CHECKPOINT, state)

    def _belongs(self) -> dict[str, Any]:
        named = ("seed", "batch", "rate", "side", "landmark_weight", "change", "frozen_norms")
        plan = {name: getattr(self.plan, name) for name in named}
        return plan | {"network": self.network.options}

    def recall(self, folder: Path) -> bool:
        """Go on from the checkpoint in a folder; False where there is none.

        Raises:
            InputError: it is damaged, or of a run with another seed, batch, rate, side, weight,
                share of changed views, kind of normalisation or network.
        """
        state = load(folder / CHECKPOINT, self._belongs())
        if state is None:
            return False
        self.network.load_state_dict(state["network"])
        self.hints.load_state_dict(state["hints"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average = state["average"]
        self.step, self.seconds = state["step"], state["seconds"]
        return True


def train(run: Run, dataset: Views, folder: Path, tell: Callable[[dict[str, float]], None]) -> None:
    """Train to the plan's end; checkpoints, and a line to `tell` with each.

    Args:
        run: new, or recalled.
        dataset: the views.
        folder: of the checkpoint.
        tell: takes step, minutes, rate, and the mean losses since the last line.
    """
    kept, losses = time.monotonic(), list[tuple[float, ...]]()
    for seen in run.train(dataset):
        parts = seen.parts
        losses.append(tuple(getattr(parts, name).item() for name in PARTS))
        over = run.plan.progress(seen.step, seen.seconds) >= 1
        if over or time.monotonic() - kept >= run.plan.seconds:
            run.keep(folder)
            tell(_line(seen, losses))
            kept, losses = time.monotonic(), []


def averaged(
    folder: Path, branches: Sequence[Path] = ()
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The averaged weights in a folder's checkpoint, and the run's step, seconds and plan.

    Args:
        folder: of the run.
        branches: of runs that began from this one when it was under way, or where it began: the
            weights are then the mean of all (Wortsman et al., Model soups, 2022), each by how long
            it ran.

    Raises:
        InputError: there is no checkpoint, it is damaged, or a branch is of another network.
    """
    states = [_state(each) for each in (folder, *branches)]
    begun = [state["belongs"] for state in states]
    for branch, other in zip(branches, begun[1:], strict=True):
        if other["network"] != begun[0]["network"]:
            raise InputError(f"{branch}: {other['network']} is no branch of {begun[0]['network']}")
    averages = [state["average"] for state in states]
    shares = torch.tensor([state["seconds"] for state in states])
    shares = shares / shares.sum()
    weights = {name: _mean([one[name] for one in averages], shares) for name in averages[0]}
    return weights, {"step": states[0]["step"], "seconds": states[0]["seconds"], **begun[0]}


def _state(folder: Path) -> dict[str, Any]:
    state = load(folder / CHECKPOINT, {})
    if state is None:
        raise InputError(f"{folder}: no {CHECKPOINT}; train first")
    return state


def _mean(values: list[Tensor], shares: Tensor) -> Tensor:
    """Of weights; of what is counted, the first."""
    if not values[0].is_floating_point():
        return values[0]
    mean: Tensor = torch.tensordot(shares, torch.stack(values), dims=1)
    return mean


def _line(seen: Seen, losses: list[tuple[float, ...]]) -> dict[str, float]:
    means = np.mean(losses, axis=0).round(4).tolist()
    named = dict(zip(PARTS, means, strict=True))
    return {"step": seen.step, "minutes": round(seen.seconds / 60, 2), "rate": seen.rate} | named
