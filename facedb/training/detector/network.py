"""The detector: depthwise-separable convolutions, a small top-down path, one head a stride."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facedb.detections import STRIDES

VALUES: Final = 15
"""A cell's answer: the score's logit, four of the box, ten of the landmarks."""

INPUT_SCALE: Final = 1 / 64
_RARE: Final = -4.0
_USUAL_SIZE: Final = 1.0


def convolution(inside: int, outside: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """A dense convolution, normalised and rectified."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
    )


class Block(nn.Module):
    """Depthwise, then pointwise (Howard et al., MobileNets, 2017); added to what came in if alike.

    Args:
        inside: channels in.
        outside: channels out.
        kernel: side of the depthwise kernel.
        stride: 1 or 2.
    """

    def __init__(self, inside: int, outside: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.across = nn.Sequential(
            nn.Conv2d(inside, inside, kernel, stride, kernel // 2, groups=inside, bias=False),
            nn.BatchNorm2d(inside),
        )
        self.mix = nn.Sequential(nn.Conv2d(inside, outside, 1, bias=False), nn.BatchNorm2d(outside))
        self.alike = inside == outside and stride == 1

    def forward(self, maps: Tensor) -> Tensor:
        """float[n, inside, h, w] -> float[n, outside, h / stride, w / stride]."""
        mixed: Tensor = self.mix(self.across(maps))
        return F.relu(mixed + maps if self.alike else mixed)


class DetectorNetwork(nn.Module):
    """Pixels to a map of answers for each of STRIDES.

    Args:
        widths: channels of the maps at strides 2, 4, 8, 16 and 32.
        depths: blocks of 5x5 kernels at strides 8, 16 and 32, and in each head.
        neck: channels of the maps that the heads see.
    """

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 64, 96, 96),
        depths: Sequence[int] = (3, 10, 9, 1),
        neck: int = 64,
    ) -> None:
        super().__init__()
        first, second, eighth, sixteenth, last = widths
        *in_stages, in_heads = depths
        self.options: dict[str, Any] = {
            "widths": list(widths),
            "depths": list(depths),
            "neck": neck,
        }
        self.stem = nn.Sequential(
            convolution(3, first, 3, 2), Block(first, second, 3, 2), Block(second, second)
        )
        self.stages = nn.ModuleList(
            [
                nn.Sequential(
                    Block(second, eighth, 3, 2), Block(eighth, eighth), *_same(eighth, in_stages[0])
                ),
                nn.Sequential(Block(eighth, sixteenth, 3, 2), *_same(sixteenth, in_stages[1])),
                nn.Sequential(Block(sixteenth, last, 3, 2), *_same(last, in_stages[2])),
            ]
        )
        self.laterals = nn.ModuleList([convolution(width, neck) for width in widths[2:]])
        self.heads = nn.ModuleList([_head(neck, in_heads) for _ in STRIDES])

    def begin_from(self, weights: dict[str, Tensor]) -> None:
        """Take up the weights of a network of these widths that is as deep, or less so.

        Blocks that it has not got pass on what comes in, at first.

        Raises:
            RuntimeError: they are of another network.
        """
        blocks = {f"{name}.": block for name, block in self.named_modules() if _passes(block)}
        new = [name for name in blocks if not any(key.startswith(name) for key in weights)]
        for name in new:
            nn.init.zeros_(blocks[name].mix[1].weight)
            weights = weights | {
                name + key: value for key, value in blocks[name].state_dict().items()
            }
        self.load_state_dict(weights)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """The answers alone of `look`."""
        return self.look(pixels)[0]

    def look(self, pixels: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """The answers, the stages' maps, and the maps that are answered from, for STRIDES each.

        Args:
            pixels: float32[n, 3, H, W] BGR 0..255, H and W multiples of 32.

        Returns:
            Answers are float32[n, VALUES, H / stride, W / stride]. The box is its centre's offset
            from the cell's corner and the logarithm of its size, the landmarks are offsets, all in
            strides. The maps have the stages' and the neck's widths.
        """
        maps, stages = self.stem(pixels * INPUT_SCALE), list[Tensor]()
        for stage in self.stages:
            maps = stage(maps)
            stages.append(maps)
        levels = [lateral(maps) for lateral, maps in zip(self.laterals, stages, strict=True)]
        for finer in (1, 0):
            levels[finer] = levels[finer] + F.interpolate(levels[finer + 1], scale_factor=2.0)
        seen = [head[0](level) for head, level in zip(self.heads, levels, strict=True)]  # type: ignore[index]
        answers = [head[1](level) for head, level in zip(self.heads, seen, strict=True)]  # type: ignore[index]
        return answers, stages, seen


def _passes(module: nn.Module) -> bool:
    return isinstance(module, Block) and module.alike


def _same(width: int, count: int) -> list[Block]:
    return [Block(width, width, 5) for _ in range(count)]


def _head(width: int, depth: int) -> nn.Sequential:
    answer = nn.Conv2d(width, VALUES, 1)
    nn.init.normal_(answer.weight, std=0.01)
    usual = torch.zeros(VALUES)
    usual[0], usual[3:5] = _RARE, _USUAL_SIZE
    answer.bias = nn.Parameter(usual)
    return nn.Sequential(nn.Sequential(Block(width, width), *_same(width, depth)), answer)


def normalised(
    network: nn.Module,
) -> list[tuple[nn.Sequential, nn.Conv2d, nn.BatchNorm2d]]:
    """The rows of layers that begin with a convolution and its normalisation, and these two."""
    rows = [row for row in network.modules() if isinstance(row, nn.Sequential) and len(row) > 1]
    return [
        (row, row[0], row[1])
        for row in rows
        if isinstance(row[0], nn.Conv2d) and isinstance(row[1], nn.BatchNorm2d)
    ]


def as_rows(maps: Sequence[Tensor]) -> Tensor:
    """float[n, c, h, w] a stride -> float[n, cells, c], the finest stride first."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1).float()
