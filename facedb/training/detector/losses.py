"""How far the student's answers are from the teacher's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

FACE: Final = 0.2
"""Cells that the teacher scores this or more teach boxes and landmarks."""

SCORE_WEIGHT: Final = 4.0
BOX_WEIGHT: Final = 2.0
LANDMARK_WEIGHT: Final = 20.0
HINT_WEIGHT: Final = 3.0
NEAR: Final = 30.0
"""A cell that teaches a box and landmarks counts so much more in the hints."""

NARROW: Final = 0.2
"""Eyes that are closer, in face sizes, are of a face that looks aside."""

_BEND: Final = 0.02
_LARGEST: Final = 6.0


@dataclass(frozen=True)
class Parts:
    """The four losses, scalars."""

    score: Tensor
    box: Tensor
    landmarks: Tensor
    hints: Tensor

    def total(self, landmark_weight: float = LANDMARK_WEIGHT) -> Tensor:
        """What is minimised."""
        answers = SCORE_WEIGHT * self.score + BOX_WEIGHT * self.box
        return answers + landmark_weight * self.landmarks + HINT_WEIGHT * self.hints


def distillation(answers: Tensor, targets: Tensor, hints: Tensor) -> Parts:
    """The losses of a batch, each divided by the sum of the teacher's scores.

    The score's is the divergence (Kullback and Leibler) of the network's from the teacher's, as
    in distillation (Hinton et al., 2015). Boxes and landmarks count where the teacher scores FACE
    or more, as much as it scores.

    Args:
        answers: float32[n, cells, 15] of the network, the score a logit.
        targets: float32[n, cells, 15] of the teacher, the score in [0, 1].
        hints: the loss of `hint_loss`, a scalar.
    """
    wanted = targets[..., 0]
    cross = F.binary_cross_entropy_with_logits(answers[..., 0], wanted, reduction="sum")
    entropy = F.binary_cross_entropy(wanted, wanted, reduction="sum")
    mass = wanted.sum().clamp(min=1.0)
    chosen = wanted >= FACE
    own, other, weight = answers[chosen], targets[chosen], wanted[chosen]
    return Parts(
        (cross - entropy) / mass,
        (box_loss(own[:, 1:5], other[:, 1:5]) * weight).sum() / mass,
        (landmark_loss(own[:, 5:], other) * weight).sum() / mass,
        hints,
    )


def hint_loss(own: Tensor, other: Tensor, targets: Tensor) -> Tensor:
    """How far maps are from the teacher's, whose channels are divided by their root mean squares.

    Hints (Romero et al., FitNets, 2015) say at every cell what the answers say at faces alone.

    Args:
        own: float32[n, cells, c], of one stride.
        other: the same, of the teacher.
        targets: float32[n, cells, 15] of the teacher.

    Returns:
        The sum over cells, those at faces NEAR times more, over their number; a scalar.
    """
    error = (own - other / hint_scale(other)).square().mean(dim=2)
    return (error * hint_weight(targets)).sum() / error.numel()


def hint_scale(other: Tensor) -> Tensor:
    """float32[1, 1, c], the channels' root mean squares, at least 0.05."""
    return other.square().mean(dim=(0, 1), keepdim=True).sqrt().clamp(min=0.05)


def hint_weight(targets: Tensor) -> Tensor:
    """float32[n, cells]: 1, and NEAR more at faces."""
    return 1 + NEAR * (targets[..., 0] >= FACE)


def box_loss(own: Tensor, other: Tensor) -> Tensor:
    """1 - DIoU (Zheng et al., Distance-IoU Loss, 2020) and the error of the sizes' logarithms.

    Args:
        own: float32[m, 4], centre and logarithm of the size.
        other: the same, of the same cells.

    Returns:
        float32[m], at least 0.
    """
    low, high, size = _corners(own)
    other_low, other_high, other_size = _corners(other)
    common = (torch.minimum(high, other_high) - torch.maximum(low, other_low)).clamp(min=0)
    common = common.prod(dim=1)
    overlap = common / (size.prod(dim=1) + other_size.prod(dim=1) - common)
    hull = torch.maximum(high, other_high) - torch.minimum(low, other_low)
    apart = (own[:, :2] - other[:, :2]).square().sum(dim=1) / hull.square().sum(dim=1)
    sizes = F.smooth_l1_loss(own[:, 2:], other[:, 2:], beta=0.1, reduction="none").sum(dim=1)
    return 1 - overlap + apart + sizes


def _corners(box: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # An untrained network's sizes must not overflow.
    size = box[:, 2:].clamp(max=_LARGEST).exp()
    return box[:, :2] - size / 2, box[:, :2] + size / 2, size


def landmark_loss(own: Tensor, other: Tensor) -> Tensor:
    """The mean error of the ten numbers in eye distances, rounded off (smooth L1) under _BEND.

    Args:
        own: float32[m, 10], landmarks.
        other: float32[m, 15], the teacher's whole answers; of a face that looks aside, whose eyes
            are less than NARROW of it apart, that is the unit.

    Returns:
        float32[m], at least 0.
    """
    least = NARROW * other[:, 3:5].mean(dim=1).exp()
    eyes = torch.linalg.vector_norm(other[:, 7:9] - other[:, 5:7], dim=1).maximum(least)
    error = (own - other[:, 5:]) / eyes[:, None]
    return F.smooth_l1_loss(error, torch.zeros_like(error), beta=_BEND, reduction="none").mean(1)
