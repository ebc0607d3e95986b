"""The learner: network, loss and optimizer, and what one step does to them."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from facedb.encoder.network import EncoderNetwork
from facedb.errors import InputError, TrainingError
from facedb.heap import keep_freed_memory
from facedb.training.averaging import decay_after
from facedb.training.convolutions import hasten
from facedb.training.losses import Seen, make_loss
from facedb.training.networks import build
from facedb.training.precision import make_optimizer, precision_of
from facedb.training.recipes import Recipe


class NotFinite(TrainingError):
    """A loss or a gradient that is NaN or infinite."""


class Learner:
    """What learns. Its first weights follow the recipe's seed alone.

    Args:
        recipe: everything that decides.
        people: how many there are.
        device: "cpu" or "cuda".
        hinted: channels of the teacher's feature map.

    Raises:
        EncoderError, InputError: the recipe names what cannot be made.
    """

    def __init__(self, recipe: Recipe, people: int, device: str, hinted: int = 1) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, device
        network = build(recipe)
        maps = _maps(network, recipe, hinted) if "hints" in recipe.loss else (1, 1, 1)
        loss = make_loss(
            recipe.loss, margin=recipe.margin, people=people, dim=recipe.dim, maps=maps
        )
        if device == "cpu":
            hasten(network)
            keep_freed_memory()
        self.module = nn.ModuleDict({"network": network, "loss": loss}).to(device)
        self.network: EncoderNetwork = network.to(memory_format=torch.channels_last)
        self.loss = loss
        self.optimizer = optimizer_of(recipe, self.module)
        self.precision = precision_of(recipe.precision, device)
        self._scaler = torch.amp.GradScaler(device, enabled=self.precision is torch.float16)
        self._average: Any = None
        if recipe.ema:
            self._average = AveragedModel(
                network, multi_avg_fn=_average(recipe.ema), use_buffers=True
            )

    @property
    def best_network(self) -> EncoderNetwork:
        """The network that is validated and kept: the moving average where there is one."""
        network: EncoderNetwork = self.network if self._average is None else self._average.module
        return network

    def step(self, crops: Tensor, seen: Seen, rate: float) -> float:
        """Learn from one batch.

        Args:
            crops: uint8[n, size, size, 3].
            seen: who they show, on the device.
            rate: the learning rate.

        Returns:
            The loss before the step.

        Raises:
            NotFinite: the loss or its gradient is not; the weights stay as they were.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.module.train()
        embeddings, maps = self._look(self.network, crops)
        loss = self.loss(embeddings, replace(seen, maps=maps))
        value: float = loss.item()
        if not math.isfinite(value):
            raise NotFinite(f"the loss is {value}")
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.clip or math.inf)
        if not self._scaler.is_enabled() and not math.isfinite(norm):
            raise NotFinite(f"the gradient is not finite (loss {value:.4f})")
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if self._average is not None:
            self._average.update_parameters(self.network)
        return value

    @torch.no_grad()
    def embed(self, crops: Tensor, batch: int = 64) -> Tensor:
        """float32[n, d] unit rows on the CPU, of uint8[n, size, size, 3], by `best_network`."""
        network = self.best_network.eval()
        parts = torch.split(crops, batch)
        return torch.cat([self._look(network, part)[0].cpu() for part in parts])

    def _look(self, network: EncoderNetwork, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Unit rows, and the feature map that they were pooled from."""
        crops = crops.to(self.device, non_blocking=True)
        with self._autocast():
            raw, maps = network.look(network.scaled(crops))
        return F.normalize(raw.float()), maps

    def _autocast(self) -> AbstractContextManager[Any]:
        enabled = self.precision is not torch.float32
        return torch.autocast(self.device, self.precision, enabled=enabled)

    def state(self) -> dict[str, Any]:
        """Everything that a run that goes on needs, as tensors and plain values."""
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if self.device == "cuda" else [],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state that `state` gave."""
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        torch.set_rng_state(state["rng"].cpu())
        if self.device == "cuda":
            torch.cuda.set_rng_state_all([part.cpu() for part in state["cuda_rng"]])


@torch.no_grad()
def _maps(network: EncoderNetwork, recipe: Recipe, hinted: int) -> tuple[int, int, int]:
    """What `make_loss` wants to know of the feature maps.

    Raises:
        InputError: the network has none.
    """
    crop = torch.zeros(1, recipe.size, recipe.size, 3, dtype=torch.uint8)
    shape = network.eval().look(network.scaled(crop))[1].shape
    if len(shape) != 4:
        raise InputError(
            f"--loss {recipe.loss}: {recipe.network} has no feature map to give hints to"
        )
    return shape[1], hinted, shape[2]


def optimizer_of(recipe: Recipe, module: nn.Module) -> torch.optim.Optimizer:
    """timm's optimizer of the name; like torch's, it decays every weight.

    Raises:
        InputError: timm has none of the name.
    """
    try:
        return make_optimizer(
            module,
            recipe.optimizer,
            recipe.learning_rate,
            recipe.weight_decay,
            filter_bias_and_bn=False,
        )
    except (AssertionError, ValueError, KeyError) as error:
        raise InputError(
            f"--optimizer {recipe.optimizer}: timm has no such optimizer; take adamw, sgd or muon"
        ) from error


def _average(most: float) -> Any:
    def follow(averaged: Any, current: Any, count: Tensor) -> None:
        decay = decay_after(int(count), most)
        get_ema_multi_avg_fn(decay)(averaged, current, count)  # type: ignore[no-untyped-call]

    return follow


def rate_at(recipe: Recipe, epoch: int, share: float) -> float:
    """The learning rate after `share` of an epoch, counted from 0.

    `cosine` is Loshchilov and Hutter's annealing (ICLR 2017, eq. 5) over the recipe's epochs, one
    value an epoch, as torch's CosineAnnealingLR has it; `cosine-step` moves with each step.
    """
    now = epoch + share
    if now < recipe.warmup:
        return recipe.learning_rate * min(1.0, max(now, 1e-3) / recipe.warmup)
    if recipe.schedule == "constant":
        return recipe.learning_rate
    at = now if recipe.schedule == "cosine-step" else epoch
    return recipe.learning_rate * (1 + math.cos(math.pi * at / recipe.epochs)) / 2
