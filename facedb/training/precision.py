"""bfloat16 where the machine multiplies it quickly, float32 elsewhere: the network's and Muon's."""

from __future__ import annotations

from typing import Any

import torch
from timm.optim import create_optimizer_v2, muon
from torch import Tensor, nn

from facedb.device import cpu_multiplies_bfloat16
from facedb.errors import InputError


def precision_of(wanted: str, device: str) -> torch.dtype:
    """What the network computes in.

    Raises:
        InputError: float16 on the CPU.
    """
    if wanted == "fp16" and device == "cpu":
        raise InputError("--precision fp16 needs a GPU; take bf16 or fp32")
    if wanted != "auto":
        return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[wanted]
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if cpu_multiplies_bfloat16() else torch.float32


def make_optimizer(
    module: nn.Module, name: str, rate: float, decay: float, **options: Any
) -> torch.optim.Optimizer:
    """timm's optimizer of the name; Muon's is computed in what the machine is quick in.

    Raises:
        AssertionError, ValueError, KeyError: timm has none of the name.
    """
    muon.zeropower_via_newtonschulz = _orthogonalised
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        module, opt=name, lr=rate, weight_decay=decay, **options
    )
    return optimizer


_by_timm = muon.zeropower_via_newtonschulz


def _orthogonalised(
    gradient: Tensor, steps: int, coefficients: list[tuple[float, float, float]], **options: Any
) -> Tensor:
    """Muon's Newton-Schulz iteration, which timm runs in bfloat16 whatever the machine.

    A CPU without units for that needs many times as long for it as for the network itself. In
    float32, which bears the squares, the steps are of the small Gram matrix alone: each multiplies
    the matrix by a polynomial of its Gram matrix, so the polynomials' product may be applied last.
    """
    if gradient.is_cuda or cpu_multiplies_bfloat16():
        orthogonal: Tensor = _by_timm(gradient, steps, coefficients, **options)
        return orthogonal
    scaled: Tensor = _by_timm(gradient, 0, coefficients, **options, dtype=torch.float32)
    tall = scaled.size(-2) > scaled.size(-1)
    gram = scaled.mT @ scaled if tall else scaled @ scaled.mT
    first, *others = [*coefficients, *steps * coefficients[-1:]][:steps]
    product = polynomial = _quintic(gram, *first)
    for factors in others:
        gram = gram @ polynomial @ polynomial
        polynomial = _quintic(gram, *factors)
        product = product @ polynomial
    return scaled @ product if tall else product @ scaled


def _quintic(gram: Tensor, a: float, b: float, c: float) -> Tensor:
    """What a step multiplies its matrix by: a + b G + c G^2."""
    polynomial = (gram @ gram).mul_(c).add_(gram, alpha=b)
    polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
    return polynomial
