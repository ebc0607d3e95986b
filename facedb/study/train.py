"""Two recipes, and one run: a block, a recipe, a seed."""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facedb.errors import InputError
from facedb.heap import keep_freed_memory
from facedb.study.augment import Augmentation, Photos, draw
from facedb.study.blocks import BlockNetwork, computing


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; what a recipe leaves out is zero.

    Attributes:
        optimizer: "adam", or "sgd" with Nesterov momentum 0.9.
        rate: learning rate; the peak of it where `warm_up` is not zero.
        warm_up: share of all steps in which the rate rises from 0 to its peak, to fall back to 0
            in the rest, both linearly (one cycle, Smith 2018); 0 keeps the rate constant.
        decay: weight decay of convolution and linear weights.
        smoothing: label smoothing.
        average: decay of the moving average of the weights, with which the network is then used.
    """

    name: str
    optimizer: str
    rate: float
    augmentation: Augmentation
    epochs: int = 30
    batch: int = 128
    warm_up: float = 0.0
    decay: float = 0.0
    smoothing: float = 0.0
    average: float = 0.0

    def shortened(self, epochs: int, batch: int) -> Recipe:
        """The recipe for fewer epochs and smaller batches; SGD's rate shrinks with the batch."""
        rate = self.rate * batch / self.batch if self.optimizer == "sgd" else self.rate
        return replace(self, epochs=epochs, batch=batch, rate=rate)


RECIPES = {
    "plain": Recipe("plain", "adam", 1e-3, Augmentation(crop=True, flip="random")),
    "modern": Recipe(
        "modern",
        "sgd",
        0.4,
        Augmentation(crop=True, flip="alternating", cutout=8),
        batch=512,
        warm_up=0.2,
        decay=5e-4,
        smoothing=0.1,
        average=0.99,
    ),
}


def find_recipe(name: str) -> Recipe:
    """The recipe of this name; raises InputError naming those there are."""
    if name not in RECIPES:
        raise InputError(f"{name}: no such recipe; there are {', '.join(RECIPES)}")
    return RECIPES[name]


@dataclass(frozen=True)
class Plan:
    """One run. Its `key` names the run's folder."""

    block: str
    recipe: Recipe
    seed: int

    @property
    def key(self) -> str:
        return f"{self.recipe.name}-{self.block}-seed{self.seed}"


@dataclass(frozen=True)
class Epoch:
    """A point of the training curve; accuracies in [0, 1], `seconds` of training alone.

    `train` is measured on the augmented batches while the weights still move, `test` with the
    weights as they are (averaged, where the recipe averages).
    """

    epoch: int
    loss: float
    train: float
    test: float
    seconds: float


def learning_rate(recipe: Recipe, progress: float) -> float:
    """The rate after this share of all steps, in [0, 1]."""
    if recipe.warm_up == 0:
        return recipe.rate
    rising = progress / recipe.warm_up
    falling = (1 - progress) / (1 - recipe.warm_up)
    return recipe.rate * min(rising, falling)


def optimizer_of(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer; biases and normalisation are never decayed."""
    weights = [weight for weight in network.parameters() if weight.ndim > 1]
    others = [weight for weight in network.parameters() if weight.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": recipe.decay},
        {"params": others},
    ]
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=recipe.rate)
    return torch.optim.SGD(groups, lr=recipe.rate, momentum=0.9, nesterov=True)


@lru_cache
def _workplace(block: str, device: torch.device, compiled: bool) -> tuple[BlockNetwork, Any]:
    """A network kept for all runs of a block, so that it is compiled once."""
    network = BlockNetwork(block).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if not compiled:
        return network, network
    # All networks share one `forward`: six blocks at two batch sizes are twelve versions of it.
    torch._dynamo.config.recompile_limit = 64
    return network, torch.compile(network, dynamic=False)


class Training:
    """A run under way: weights, optimizer, average, curve. Both recipes compute in bfloat16
    where the machine has units for it.

    Args:
        plan: what to train.
        photos: the training pictures; their device is where the run computes.
        compiled: whether to use torch.compile.
    """

    def __init__(self, plan: Plan, photos: Photos, compiled: bool = False) -> None:
        self.plan = plan
        self.photos = photos
        self.batch = min(plan.recipe.batch, len(photos))
        self.steps = len(photos) // self.batch
        if photos.device.type == "cpu":
            keep_freed_memory()
        self.network, self._run = _workplace(plan.block, photos.device, compiled)
        torch.manual_seed(plan.seed)
        self.network.load_state_dict(BlockNetwork(plan.block).state_dict())
        self.used = copy.deepcopy(self.network) if plan.recipe.average else self.network
        self.optimizer = optimizer_of(self.network, plan.recipe)
        self.curve: list[Epoch] = []

    @property
    def finished(self) -> bool:
        return len(self.curve) >= self.plan.recipe.epochs

    def epoch(self, measure: Callable[[BlockNetwork], float]) -> Epoch:
        """Train through all pictures once; `measure` gives the test accuracy of a network."""
        number, started = len(self.curve), time.perf_counter()
        draws = draw(len(self.photos), self.plan.recipe.augmentation, self.plan.seed, number)
        draws = self.photos.place(draws)
        self.network.train()
        sums = torch.zeros(2, device=self.photos.device)
        for step in range(self.steps):
            rows = slice(step * self.batch, (step + 1) * self.batch)
            images, labels = self.photos.batch(draws, rows, self.plan.recipe.augmentation.cutout)
            sums += self._step(images, labels, number * self.steps + step)
        loss, right = (sums / self.steps).tolist()
        seconds = time.perf_counter() - started
        self.curve.append(Epoch(number + 1, loss, right, measure(self.used), seconds))
        return self.curve[-1]

    def _step(self, images: Tensor, labels: Tensor, number: int) -> Tensor:
        recipe = self.plan.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(recipe, (number + 1) / (recipe.epochs * self.steps + 1))
        with computing(images.device):
            logits = self._run(images)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.smoothing)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if recipe.average:
            self._average(min(recipe.average, (number + 1) / (number + 10)))
        right = (logits.argmax(1) == labels).float().mean()
        return torch.stack([loss.detach(), right])

    @torch.no_grad()
    def _average(self, kept: float) -> None:
        average, moving = self.used.state_dict(), self.network.state_dict()
        floating = [name for name, values in average.items() if values.is_floating_point()]
        torch._foreach_lerp_(
            [average[name] for name in floating], [moving[name] for name in floating], 1 - kept
        )

    def save(self, file: Path) -> None:
        """Write all that the next epoch needs, whole or not at all."""
        state = {
            "plan": asdict(self.plan),
            "network": self.network.state_dict(),
            "used": self.used.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "curve": [asdict(point) for point in self.curve],
        }
        unfinished = file.with_suffix(".tmp")
        torch.save(state, unfinished)
        unfinished.replace(file)

    def resume(self, file: Path) -> None:
        """Go on from a saved epoch.

        Raises:
            InputError: the file is torn, or of a run with other settings.
        """
        state = read_checkpoint(file, self.photos.device)
        if state["plan"] != asdict(self.plan):
            raise InputError(
                f"{file}: was made with other settings; delete its folder, or name another --runs"
            )
        self.network.load_state_dict(state["network"])
        self.used.load_state_dict(state["used"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.curve = [Epoch(**point) for point in state["curve"]]


def read_checkpoint(file: Path, device: torch.device) -> dict[str, Any]:
    """What `Training.save` wrote; raises InputError when it is torn."""
    try:
        state: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise InputError(f"{file}: not a checkpoint ({error}); delete it and run again") from error
    return state


def speed(plan: Plan, photos: Photos, compiled: bool = False) -> float:
    """Training pictures a second, of a few steps after a first one that is not counted."""
    training = Training(replace(plan, seed=0), photos, compiled)
    training.steps = 1
    training.epoch(lambda _: 0.0)
    steps = 30 if photos.device.type == "cuda" else 3
    training.steps = min(steps, len(photos) // training.batch)
    return training.steps * training.batch / training.epoch(lambda _: 0.0).seconds


@torch.inference_mode()
def predict(network: BlockNetwork, photos: Photos, mirror: bool = False, limit: int = 0) -> Tensor:
    """Logits float[n, 10], on the CPU, of all pictures or the first `limit`.

    Args:
        mirror: look at the mirror images instead.
    """
    network.eval()
    found = []
    count = limit if limit else len(photos)
    for start in range(0, count, 500):
        images, _ = photos.plain(slice(start, min(start + 500, count)))
        with computing(images.device):
            logits = network(images.flip(3) if mirror else images)
        found.append(logits.float().cpu())
    return torch.cat(found)
