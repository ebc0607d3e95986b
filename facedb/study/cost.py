"""What a network costs: its parameters, and its multiply-accumulates for one image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def parameters(network: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(weight.numel() for weight in network.parameters())


def multiply_accumulates(network: nn.Module, side: int = 32) -> int:
    """Of convolutions and linear layers, for one image of side x side pixels, forward.

    A layer multiplies each of its outputs with as many inputs as one row of its weight has.
    Normalisation, activation, pooling and the weighting of attention are not counted.
    """
    counts: list[int] = []

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        counts.append(output.numel() * weight[0].numel())

    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    training = network.training
    device = next(network.parameters()).device
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, side, side, device=device))
    network.train(training)
    for hook in hooks:
        hook.remove()
    return sum(counts)
