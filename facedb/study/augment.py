"""The whole set as one tensor on the device, and batches cut from it there.

All that is random about an epoch (order, crops, mirrors, holes) is drawn before it, from the seed
and the epoch's number alone: an interrupted run goes on exactly as it would have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from facedb.study.data import SIDE, Part

PADDING = 4
MEAN = (0.4914, 0.4822, 0.4465)  # of CIFAR-10's training pictures, RGB in [0, 1]
DEVIATION = (0.2470, 0.2435, 0.2616)


@dataclass(frozen=True)
class Augmentation:
    """What is done to training pictures.

    Attributes:
        crop: cut 32x32 at random out of the picture padded by 4 reflected pixels.
        flip: "" for none, "random", or "alternating": each picture is mirrored at random in the
            first epoch and in every second one after it (Jordan, airbench, 2024).
        cutout: side of a square hole at random, filled with the mean (DeVries and Taylor, 2017);
            0 for none.
    """

    crop: bool = False
    flip: str = ""
    cutout: int = 0


@dataclass(frozen=True)
class Draws:
    """What one epoch drew, one row a picture: order, shift[n, 2], mirror[n], hole[n, 2]."""

    order: Tensor
    shift: Tensor
    mirror: Tensor
    hole: Tensor


def draw(count: int, augmentation: Augmentation, seed: int, epoch: int) -> Draws:
    """The random choices of an epoch of `count` pictures; the same for the same arguments."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    order = torch.randperm(count, generator=generator)
    shift = torch.randint(0, 2 * PADDING + 1, (count, 2), generator=generator)
    mirror = torch.randint(0, 2, (count,), generator=generator)
    hole = torch.randint(0, SIDE, (count, 2), generator=generator)
    if not augmentation.crop:
        shift = torch.full_like(shift, PADDING)
    if augmentation.flip == "alternating":
        first = torch.Generator().manual_seed(seed)
        mirror = (torch.randint(0, 2, (count,), generator=first) + epoch) % 2
    elif augmentation.flip != "random":
        mirror = torch.zeros_like(mirror)
    return Draws(order, shift, mirror, hole)


def memory_needed(part: Part) -> int:
    """Bytes on the device: the padded pictures."""
    return len(part.labels) * 3 * (SIDE + 2 * PADDING) ** 2


class Photos:
    """Pictures as uint8[n, 3, 40, 40], where `home` says, delivered as batches to `device`.

    Args:
        part: the pictures.
        device: where the batches are wanted.
        free: bytes free on the device; a quarter of it at most is taken for pictures. With too
            little, the pictures stay in host memory and each batch travels.
    """

    def __init__(self, part: Part, device: torch.device, free: int | None = None) -> None:
        if free is None:
            free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 1 << 62
        self.device = device
        self.home = device if memory_needed(part) <= free / 4 else torch.device("cpu")
        around = ((0, 0), (0, 0), (PADDING, PADDING), (PADDING, PADDING))
        padded = np.pad(part.images, around, mode="reflect")
        self._padded = torch.from_numpy(padded).to(self.home)
        self._labels = torch.from_numpy(part.labels).to(self.home)
        scale = torch.tensor([MEAN, DEVIATION], device=device) * 255
        self._mean, self._deviation = scale[:, :, None, None].unbind()

    def __len__(self) -> int:
        return len(self._labels)

    def place(self, draws: Draws) -> Draws:
        """The draws, moved to where the pictures are."""
        parts = (draws.order, draws.shift, draws.mirror, draws.hole)
        return Draws(*(part.to(self.home) for part in parts))

    def batch(self, draws: Draws, rows: slice, cutout: int = 0) -> tuple[Tensor, Tensor]:
        """Normalised float[n, 3, 32, 32], channels last, and labels int64[n], on the device."""
        chosen = draws.order[rows]
        steps = torch.arange(SIDE, device=self.home)
        columns = torch.where(draws.mirror[rows, None] == 1, SIDE - 1 - steps, steps)
        cut = self._cut(chosen, draws.shift[rows], steps, columns)
        images = self._normalise(cut)
        if cutout:
            images = images * (1 - _holes(draws.hole[rows].to(self.device), cutout))
        return images, self._labels[chosen].to(self.device)

    def plain(self, rows: slice) -> tuple[Tensor, Tensor]:
        """The same, of pictures as they are, in their own order."""
        inner = slice(PADDING, PADDING + SIDE)
        images = self._normalise(self._padded[rows, :, inner, inner])
        return images, self._labels[rows].to(self.device)

    def _cut(self, chosen: Tensor, shift: Tensor, steps: Tensor, columns: Tensor) -> Tensor:
        down = (shift[:, :1] + steps)[:, None, :, None]
        right = (shift[:, 1:] + columns)[:, None, None, :]
        channels = torch.arange(3, device=self.home)[None, :, None, None]
        return self._padded[chosen[:, None, None, None], channels, down, right]

    def _normalise(self, images: Tensor) -> Tensor:
        moved = images.to(self.device, non_blocking=True).float()
        normalised = (moved - self._mean) / self._deviation
        return normalised.contiguous(memory_format=torch.channels_last)


def _holes(centre: Tensor, side: int) -> Tensor:
    """float[n, 1, 32, 32], 1 inside a square of `side` around the centre, cut off at the edge."""
    distance = torch.arange(SIDE, device=centre.device) - centre[:, :, None] + side // 2
    inside = (distance >= 0) & (distance < side)
    return (inside[:, 0, :, None] & inside[:, 1, None, :])[:, None].float()
