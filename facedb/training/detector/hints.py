"""The teacher's maps as a second lesson: layers, not shipped, bring the network's own to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor, nn

from facedb.training.detector.losses import hint_loss, hint_scale, hint_weight
from facedb.training.detector.network import DetectorNetwork, as_rows

HINTED: Final = 64
"""Channels of the teacher's maps."""


class Hints(nn.Module):
    """A network's maps brought to the teacher's by 1x1 convolutions.

    Its calls take, for each stride:
        stages: float32[n, width, H / stride, W / stride] of the network.
        seen: the same of the maps that the heads see.
        maps: float16[n, cells, 2 * HINTED] of the teacher, or no columns.
        targets: float32[n, cells, 15] of the teacher.
    """

    def __init__(self, network: DetectorNetwork) -> None:
        super().__init__()
        widths, neck = network.options["widths"][2:], network.options["neck"]
        self.stages = nn.ModuleList([nn.Conv2d(width, HINTED, 1) for width in widths])
        self.seen = nn.ModuleList([nn.Conv2d(neck, HINTED, 1) for _ in widths])

    def forward(
        self, stages: list[Tensor], seen: list[Tensor], maps: Tensor, targets: Tensor
    ) -> Tensor:
        """The loss of both groups of maps, each stride by its share of the cells.

        Returns:
            A scalar; 0 where the teacher has no maps.
        """
        loss = maps.new_zeros((), dtype=torch.float32)
        for layer, own, other, told in self._levels(stages, seen, maps, targets):
            share = other.shape[1] / maps.shape[1]
            loss = loss + share * hint_loss(as_rows([layer(own)]), other, told)
        return loss

    def fit(self, stages: list[Tensor], seen: list[Tensor], maps: Tensor, targets: Tensor) -> None:
        """Make the loss of these maps the least there is: least squares, weighted as it weighs."""
        for layer, own, other, told in self._levels(stages, seen, maps, targets):
            weight = hint_weight(told).sqrt()[..., None]
            rows = as_rows([own])
            rows = torch.cat([rows, torch.ones_like(rows[..., :1])], dim=2) * weight
            wanted = other / hint_scale(other) * weight
            best = torch.linalg.lstsq(rows.flatten(0, 1), wanted.flatten(0, 1)).solution
            layer.load_state_dict({"weight": best[:-1].T[..., None, None], "bias": best[-1]})

    def _levels(
        self, stages: list[Tensor], seen: list[Tensor], maps: Tensor, targets: Tensor
    ) -> Iterator[tuple[nn.Module, Tensor, Tensor, Tensor]]:
        """A layer, the network's map that it takes, the teacher's map and answers there."""
        cells = [stage.shape[2] * stage.shape[3] for stage in stages]
        wanted = maps.float().split(cells, dim=1)  # type: ignore[no-untyped-call]
        told = targets.split(cells, dim=1)  # type: ignore[no-untyped-call]
        groups = maps.shape[2] // HINTED
        for group, (own, bring) in enumerate(((stages, self.stages), (seen, self.seen))[:groups]):
            columns = slice(group * HINTED, (group + 1) * HINTED)
            for level, layer in enumerate(bring):
                yield layer, own[level], wanted[level][..., columns], told[level]
