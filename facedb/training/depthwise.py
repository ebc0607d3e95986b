"""A depthwise convolution whose backward on the CPU is several times faster than oneDNN's."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Depthwise(torch.autograd.Function):
    """k x k, stride 1, same padding.

    The weight's gradient is a batched matrix product per vertical shift: entry (u, w) correlates
    column u of the padded input with column w of the gradient, and the diagonals are the shifts.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        n, c, h, w = x.shape
        k = weight.shape[-1]
        edge = k // 2
        to_x = F.conv2d(gradient, weight.flip(2, 3), padding=edge, groups=c)
        padded = x.new_zeros(c, h + 2 * edge, n, w + 2 * edge)
        padded[:, edge : edge + h, :, edge : edge + w] = x.permute(1, 2, 0, 3)
        rows = padded.view(c, -1, w + 2 * edge)
        outer = gradient.new_empty(c, h, n, w).copy_(gradient.permute(1, 2, 0, 3))
        outer = outer.view(c, h * n, w)
        to_weight = torch.empty(c, 1, k, k)
        for shift in range(k):
            part = rows[:, shift * n : (shift + h) * n].transpose(1, 2)
            product = torch.bmm(part, outer).float()
            diagonals = product.as_strided(
                (c, k, w), ((w + 2 * edge) * w, w, w + 1), product.storage_offset()
            )
            to_weight[:, 0, shift] = diagonals.sum(2)
        return to_x, to_weight.to(weight.dtype), outer.sum((1, 2)).to(weight.dtype)


class _FastDepthwise(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        bias = self.weight.new_zeros(len(self.weight)) if self.bias is None else self.bias
        return _Depthwise.apply(x.to(kind), self.weight.to(kind), bias.to(kind))  # type: ignore[no-any-return]


class _Pointwise(nn.Conv2d):
    """1 x 1: a matrix product, whose backward oneDNN does faster than a convolution's."""

    def forward(self, x: Tensor) -> Tensor:
        moved = F.linear(x.permute(0, 2, 3, 1), self.weight[:, :, 0, 0], self.bias)
        return moved.permute(0, 3, 1, 2)


def hasten(network: nn.Module) -> None:
    """Make a network's convolutions train faster on the CPU; what they compute stays."""
    for module in network.modules():
        if type(module) is nn.Conv2d and _fits(module):
            module.__class__ = _FastDepthwise
        elif type(module) is nn.Conv2d and _is_pointwise(module):
            module.__class__ = _Pointwise


def _is_pointwise(convolution: nn.Conv2d) -> bool:
    sides = convolution.kernel_size, convolution.stride, convolution.padding
    return sides == ((1, 1), (1, 1), (0, 0)) and convolution.groups == 1


def _fits(convolution: nn.Conv2d) -> bool:
    k = convolution.kernel_size[0]
    return (
        convolution.groups == convolution.in_channels == convolution.out_channels > 1
        and convolution.kernel_size == (k, k)
        and k >= 5
        and k % 2 == 1
        and convolution.stride == (1, 1)
        and convolution.dilation == (1, 1)
        and convolution.padding == (k // 2, k // 2)
        and convolution.padding_mode == "zeros"
    )
