"""A model file made trainable again: the normalisations that `to_onnx` folds away are put back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper
from torch import Tensor, nn

from facedb.errors import InputError
from facedb.training.detector.network import INPUT_SCALE, DetectorNetwork, normalised

DEAD: Final = 1e-2
"""A channel whose kernel is shorter, in lengths of its layer's longest, says nothing any more."""


def revived(
    model: Path, views: Tensor, options: dict[str, Any], enliven: bool = False
) -> dict[str, Tensor]:
    """The weights of a network that answers as a model file does, and can go on learning.

    A normalisation that started from the usual values would change every answer as soon as it saw
    a batch. So each gets the mean and the variance that `views` have there, and the scale and shift
    that undo them; the kernels get unit length.

    Args:
        model: what `to_onnx` wrote.
        views: float32[n, 3, H, W] BGR 0..255, like those that will be learned from; a few hundred.
        options: of the DetectorNetwork that was written; its card has them.
        enliven: let dead channels begin anew, at random; the answers are then a little others.

    Raises:
        InputError: the file is not of such a network.
    """
    network = DetectorNetwork(**options).eval()
    pairs = [(kernel, norm) for _, kernel, norm in normalised(network)]
    _take_up(network, dict(pairs), model)
    if enliven:
        _enliven(pairs)
    moments: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        moments[norm] = mean, variance

    hooks = [norm.register_forward_pre_hook(measure) for _, norm in pairs]
    with torch.no_grad():
        network(views)
        for hook in hooks:
            hook.remove()
        for kernel, norm in pairs:
            _normalise(kernel, norm, *moments[norm])
    return network.state_dict()


def _take_up(network: DetectorNetwork, norms: dict[Any, Any], model: Path) -> None:
    """The file's kernels and shifts, under normalisations that change nothing."""
    own = [one for part in _parts(network) for one in part.modules() if isinstance(one, nn.Conv2d)]
    written = _convolutions(model)
    if [kernel.shape for kernel, _ in written] != [one.weight.shape for one in own]:
        raise InputError(f"{model}: not the network of its card; --begin takes what `export` wrote")
    with torch.no_grad():
        for mine, (kernel, shift) in zip(own, written, strict=True):
            mine.weight.copy_(kernel)
            norms.get(mine, mine).bias.copy_(shift)
        for norm in norms.values():
            norm.running_var.fill_(1 - norm.eps)
        own[0].weight /= INPUT_SCALE


def _convolutions(model: Path) -> list[tuple[Tensor, Tensor]]:
    """The kernels and shifts of a file, in its order."""
    try:
        graph = onnx.load(str(model)).graph
    except DecodeError as error:
        raise InputError(f"{model}: not an ONNX file ({error})") from error
    values = {one.name: torch.tensor(numpy_helper.to_array(one)) for one in graph.initializer}
    inputs = [list(node.input) for node in graph.node if node.op_type == "Conv"]
    try:
        for node in graph.node:
            if node.op_type == "Cast":
                values[node.output[0]] = values[node.input[0]].float()
            if node.op_type == "Mul":
                levels, step = node.input
                values[node.output[0]] = values[levels] * values[step]
        return [(values[kernel], values[shift]) for _, kernel, shift in inputs]
    except (KeyError, ValueError) as error:
        raise InputError(f"{model}: not written by `export`, which --begin needs") from error


def _parts(network: DetectorNetwork) -> list[nn.Module]:
    """In the order in which `to_onnx` writes them."""
    levels = zip(network.stages, network.laterals, strict=True)
    return [network.stem, *(part for level in levels for part in level), *network.heads]


def _enliven(pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]]) -> None:
    """A random kernel of usual length for every dead channel.

    Weight decay takes away what no gradient holds: a rectified channel that is never above zero,
    and the kernels that look at it. None of them comes back by itself, for each waits for another.
    """
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for kernel, norm in pairs:
            length = _lengths(kernel)
            dead = length < DEAD * length.max()
            new = torch.randn(kernel.weight[dead].shape, generator=random)
            usual = length[~dead].median() / new.flatten(1).norm(dim=1)
            kernel.weight[dead] = new * usual.view(-1, 1, 1, 1)
            norm.bias[dead] = 0.0


def _lengths(kernel: nn.Conv2d) -> Tensor:
    """Of each channel's weights, float32[channels]."""
    lengths: Tensor = kernel.weight.flatten(1).norm(dim=1)
    return lengths


def _normalise(kernel: nn.Conv2d, norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Bring a kernel to unit length; its normalisation undoes that, and what it does itself.

    A kernel of zeros, of a channel that died, stays what it is.
    """
    length = _lengths(kernel)
    length = torch.where(length > 0, length, 1.0)
    kernel.weight /= length.view(-1, 1, 1, 1)
    state: dict[str, Any] = {
        "running_mean": mean / length,
        "running_var": variance / length.square(),
    }
    state["weight"] = length * torch.sqrt(state["running_var"] + norm.eps)
    state["bias"] = norm.bias + mean
    norm.load_state_dict(state, strict=False)
