"""Convolutions whose backward on the CPU is faster than oneDNN's; what they compute stays."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Depthwise(torch.autograd.Function):
    """k x k, stride 1, same padding.

    The weight's gradient is a batched matrix product per vertical shift: entry (u, w) correlates
    column u of the input with column w of the gradient, and the diagonals are the shifts.
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
        inner, outer = _by_channel(x), _by_channel(gradient)
        to_weight = torch.zeros(c, 1, k, k)
        product = torch.zeros(c, w + 2 * edge, w)  # zero where a shift leaves the image
        diagonals = product.as_strided((c, k, w), ((w + 2 * edge) * w, w, w + 1))
        for shift in range(max(-edge, 1 - h), min(edge, h - 1) + 1):
            first, last = max(0, -shift), h - max(0, shift)
            part = inner[:, (first + shift) * n : (last + shift) * n].transpose(1, 2)
            product[:, edge : edge + w] = torch.bmm(part, outer[:, first * n : last * n])
            to_weight[:, 0, edge + shift] = diagonals.sum(2)
        return to_x, to_weight.to(weight.dtype), outer.sum((1, 2)).to(weight.dtype)


def _by_channel(maps: Tensor) -> Tensor:
    """[n, c, h, w] -> [c, h * n, w]."""
    n, c, h, w = maps.shape
    return maps.permute(1, 2, 0, 3).reshape(c, h * n, w)


class _FastDepthwise(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        bias = self.weight.new_zeros(len(self.weight)) if self.bias is None else self.bias
        return _Depthwise.apply(x.to(kind), self.weight.to(kind), bias.to(kind))  # type: ignore[no-any-return]


class _Patches(nn.Conv2d):
    """Patches that touch, or single pixels: a matrix product, whose backward is faster so."""

    def forward(self, x: Tensor) -> Tensor:
        (n, c, *sides), k = x.shape, self.kernel_size[0]
        h, w = (side // k for side in sides)
        whole = x[:, :, : h * k, : w * k].permute(0, 2, 3, 1)
        patches = whole.reshape(n, h, k, w, k, c).transpose(2, 3)
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(patches.flatten(3), weight, self.bias).permute(0, 3, 1, 2)


def hasten(network: nn.Module) -> None:
    """Make a network's convolutions train faster on the CPU; what they compute stays."""
    for module in network.modules():
        if type(module) is nn.Conv2d and _fits(module):
            module.__class__ = _FastDepthwise
        elif type(module) is nn.Conv2d and _is_of_patches(module):
            module.__class__ = _Patches


def _is_of_patches(convolution: nn.Conv2d) -> bool:
    k = convolution.kernel_size[0]
    sides = convolution.kernel_size, convolution.stride, convolution.padding
    others = convolution.dilation, convolution.groups
    return sides == ((k, k), (k, k), (0, 0)) and others == ((1, 1), 1)


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
