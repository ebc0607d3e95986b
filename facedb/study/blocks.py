"""The six blocks, and the one network that any of them fits into.

Every block maps float[n, c_in, h, w] to float[n, c_out, h, w]; the network alone shrinks the image.
Only the block differs between two networks: stem, widths, pooling and head are shared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from facedb.device import cpu_multiplies_bfloat16
from facedb.errors import InputError

CLASSES = 10
STEM = (32, 64, 128)
WIDTHS = (128, 128, 256, 256, 256, 512, 512, 512)
FEATURES = WIDTHS[-1]


def computing(device: torch.device) -> torch.autocast:
    """What networks compute in: bfloat16, but float32 on a CPU that would only imitate it."""
    units = device.type != "cpu" or cpu_multiplies_bfloat16()
    return torch.autocast(device.type, torch.bfloat16, enabled=units)


def convolution(inputs: int, outputs: int, size: int = 3, groups: int = 1) -> nn.Conv2d:
    """A convolution that keeps height and width; no bias, as a normalisation follows it."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False)


class ConvBlock(nn.Sequential):
    """A: 3x3 convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(convolution(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU())


class SpatialAttention(nn.Module):
    """Which places matter: a weight in (0, 1) for each place, shared by its channels.

    The weight is the sigmoid of a learned mix of the channels (1x1 convolution without bias).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = convolution(channels, 1, size=1)

    def weights(self, features: Tensor) -> Tensor:
        """float[n, c, h, w] -> float[n, 1, h, w] in (0, 1)."""
        return torch.sigmoid(self.mix(features))

    def forward(self, features: Tensor) -> Tensor:
        return features * self.weights(features)


class ChannelAttention(nn.Module):
    """Which channels matter: squeeze-and-excitation (Hu et al., CVPR 2018), reduction 16.

    A channel's mean over all places is the squeeze; two linear layers and a sigmoid turn the
    means into a weight in (0, 1) for each channel.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.narrow = nn.Linear(channels, channels // reduction)
        self.widen = nn.Linear(channels // reduction, channels)

    def weights(self, features: Tensor) -> Tensor:
        """float[n, c, h, w] -> float[n, c, 1, 1] in (0, 1)."""
        squeezed = features.mean((2, 3))
        excited = self.widen(torch.relu(self.narrow(squeezed)))
        return torch.sigmoid(excited)[:, :, None, None]

    def forward(self, features: Tensor) -> Tensor:
        return features * self.weights(features)


class SpatialAttentionBlock(nn.Sequential):
    """B: block A, then spatial attention."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(ConvBlock(inputs, outputs), SpatialAttention(outputs))


class ChannelAttentionBlock(nn.Sequential):
    """C: block A, then channel attention."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(ConvBlock(inputs, outputs), ChannelAttention(outputs))


class Residual(nn.Module):
    """ReLU(path(x) + shortcut(x)): the path learns what the shortcut does not carry already.

    The shortcut is a 1x1 convolution in every block, also where the width does not change: only
    so do the published parameter counts come out.
    """

    def __init__(self, path: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.path = path
        self.shortcut = shortcut

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.path(features) + self.shortcut(features))


class ResidualBlock(Residual):
    """D: convolution and normalisation as in A, with a shortcut around them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        path = nn.Sequential(convolution(inputs, outputs), nn.BatchNorm2d(outputs))
        super().__init__(path, convolution(inputs, outputs, size=1))


class DepthwiseBlock(Residual):
    """D depthwise: the 3x3 convolution of D split in two (Howard et al., MobileNets, 2017).

    A depthwise convolution looks around in each channel alone, a 1x1 convolution mixes channels:
    9 c_in + c_in c_out weights in place of 9 c_in c_out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        path = nn.Sequential(
            convolution(inputs, inputs, groups=inputs),
            convolution(inputs, outputs, size=1),
            nn.BatchNorm2d(outputs),
        )
        super().__init__(path, convolution(inputs, outputs, size=1))


class BottleneckBlock(Residual):
    """E: ResNeXt bottleneck (Xie et al., CVPR 2017), 8 groups, a quarter of the input's width.

    A 1x1 convolution narrows, a grouped 3x3 convolution looks around in 8 separate groups, a 1x1
    convolution widens; each is normalised, and so is the shortcut.
    """

    def __init__(self, inputs: int, outputs: int, groups: int = 8) -> None:
        narrow = inputs // 4
        path = nn.Sequential(
            convolution(inputs, narrow, size=1),
            nn.BatchNorm2d(narrow),
            nn.ReLU(),
            convolution(narrow, narrow, groups=groups),
            nn.BatchNorm2d(narrow),
            nn.ReLU(),
            convolution(narrow, outputs, size=1),
            nn.BatchNorm2d(outputs),
        )
        shortcut = nn.Sequential(convolution(inputs, outputs, size=1), nn.BatchNorm2d(outputs))
        super().__init__(path, shortcut)


class Block(NamedTuple):
    """A row of the study: how the block is made, and what was published of it.

    Accuracies are in percent after 30 epochs; `parameters` counts the whole network.
    """

    title: str
    make: Callable[[int, int], nn.Module]
    parameters: int
    validation: float
    training: float


BLOCKS = {
    "A": Block("convolution", ConvBlock, 7_771_434, 88.56, 94.16),
    "B": Block("A + spatial attention", SpatialAttentionBlock, 7_773_994, 89.27, 94.66),
    "C": Block("A + channel attention", ChannelAttentionBlock, 7_901_130, 88.60, 94.55),
    "D": Block("residual", ResidualBlock, 8_623_402, 87.04, 93.59),
    "D-depthwise": Block("residual, depthwise separable", DepthwiseBlock, 1_827_242, 79.47, 81.58),
    "E": Block("ResNeXt bottleneck", BottleneckBlock, 1_422_378, 85.13, 87.07),
}


class BlockNetwork(nn.Module):
    """Stem, eight blocks of one kind in three stages, mean over places, linear classifier.

    The stem ends at 32x32, the stages at 16x16, 8x8 and 4x4. A stage's first block widens, and
    is followed by 2x2 maximum pooling (the stem's last convolution stands in for it in stage 1),
    so that the widening still sees the finer image.

    Args:
        name: a key of BLOCKS.

    Raises:
        InputError: there is no such block.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        block = find_block(name)
        stem = [ConvBlock(*pair) for pair in zip((3, *STEM), STEM, strict=False)]
        self.stem = nn.Sequential(*stem, nn.MaxPool2d(2))
        layers: list[nn.Module] = []
        for inputs, outputs in zip((STEM[-1], *WIDTHS), WIDTHS, strict=False):
            layers.append(block.make(inputs, outputs))
            if outputs > inputs:
                layers.append(nn.MaxPool2d(2))
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(FEATURES, CLASSES)

    def features(self, images: Tensor) -> Tensor:
        """float[n, 3, 32, 32], normalised -> the penultimate float[n, 512]."""
        mapped: Tensor = self.blocks(self.stem(images))
        return mapped.mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """float[n, 3, 32, 32], normalised -> logits float[n, 10]."""
        logits: Tensor = self.head(self.features(images))
        return logits


def find_block(name: str) -> Block:
    """The block of this name; raises InputError naming those there are."""
    if name not in BLOCKS:
        raise InputError(f"{name}: no such block; there are {', '.join(BLOCKS)}")
    return BLOCKS[name]
