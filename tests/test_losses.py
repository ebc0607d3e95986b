"""Losses against what their formulas give by hand, and against torch's own where there is one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facedb.errors import InputError
from facedb.training.losses import (
    Angular,
    Contrastive,
    Distillation,
    Hints,
    Relational,
    Seen,
    Triplet,
    make_loss,
)


def on_circle(*degrees: float) -> Tensor:
    """Unit vectors in the plane at these angles."""
    return torch.tensor([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees])


def chord(degrees: float) -> float:
    """Distance of two unit vectors at this angle."""
    return 2 * math.sin(math.radians(degrees) / 2)


def seen(*labels: int, paired: bool = False) -> Seen:
    return Seen(torch.tensor(labels), paired)


def test_contrastive_on_drawn_pairs() -> None:
    # Pairs (0, 60 degrees) of one person, (0, 30) and (0, 90) of two.
    embeddings = on_circle(0, 0, 0, 60, 30, 90)
    loss = Contrastive(1.0)(embeddings, seen(0, 0, 0, 0, 1, 1, paired=True))
    by_hand = (chord(60) ** 2 + (1 - chord(30)) ** 2 + 0.0) / 3
    assert chord(90) > 1.0
    assert loss.item() == pytest.approx(by_hand, abs=1e-6)


def test_contrastive_leaves_out_pairs_with_nobody() -> None:
    loss = Contrastive(1.0)(on_circle(0, 10, 60, 30), seen(0, 1, 0, -1, paired=True))
    assert loss.item() == pytest.approx(chord(60) ** 2, abs=1e-6)


def test_contrastive_margin_reaches_farther_pairs() -> None:
    embeddings = on_circle(0, 90)
    loss = Contrastive(2.0)(embeddings, seen(0, 1, paired=True))
    assert loss.item() == pytest.approx((2 - math.sqrt(2)) ** 2, abs=1e-6)


def test_contrastive_weighs_both_kinds_alike_on_all_pairs() -> None:
    # One pair of a person at 60 degrees; two of others at 20 and 40.
    embeddings = on_circle(0, 60, 20)
    loss = Contrastive(1.0)(embeddings, seen(5, 5, 9))
    others = ((1 - chord(20)) ** 2 + (1 - chord(40)) ** 2) / 2
    assert loss.item() == pytest.approx((chord(60) ** 2 + others) / 2, abs=1e-6)


def test_contrastive_of_one_photo_twice_has_a_finite_gradient() -> None:
    embeddings = on_circle(10, 10).requires_grad_()
    Contrastive(1.0)(embeddings, seen(0, 1, paired=True)).backward()
    assert embeddings.grad is not None
    assert torch.isfinite(embeddings.grad).all()


def test_triplet_takes_the_hardest() -> None:
    # Person 0 at 0 and 40 degrees, person 1 at 70 and 100.
    loss = Triplet(0.3)(on_circle(0, 40, 70, 100), seen(0, 0, 1, 1))
    terms = [
        0.3 + chord(40) - chord(70),
        0.3 + chord(40) - chord(30),
        0.3 + chord(30) - chord(30),
        0.3 + chord(30) - chord(60),
    ]
    assert loss.item() == pytest.approx(sum(max(0.0, term) for term in terms) / 4, abs=1e-6)
    # Whoever is there with one photo only has no farthest of their own.
    loss = Triplet(0.3)(on_circle(0, 40, 70), seen(0, 0, 1))
    assert loss.item() == pytest.approx(sum(max(0.0, term) for term in terms[:2]) / 2, abs=1e-6)


def test_triplet_of_strangers_only_is_zero() -> None:
    assert Triplet()(on_circle(0, 90), seen(0, 1)).item() == 0.0


def test_arcface_agrees_with_torch_on_the_angle() -> None:
    torch.manual_seed(0)
    loss = Angular(3, 2, angle=0.5, scale=10.0)
    loss.centres.data = on_circle(0, 120, 240)
    embeddings = on_circle(20, 130)
    angles = torch.tensor([[20.0, 100.0, 140.0], [130.0, 10.0, 110.0]]).deg2rad()
    angles[0, 0] += 0.5
    angles[1, 1] += 0.5
    expected = F.cross_entropy(10 * angles.cos(), torch.tensor([0, 1]))
    assert loss(embeddings, seen(0, 1)).item() == pytest.approx(expected.item(), abs=1e-5)


def test_cosface_takes_the_margin_from_the_cosine() -> None:
    loss = Angular(2, 2, cosine=0.35, scale=4.0)
    loss.centres.data = on_circle(0, 90)
    own, other = 4 * (math.cos(math.radians(30)) - 0.35), 4 * math.cos(math.radians(60))
    by_hand = math.log(math.exp(own) + math.exp(other)) - own
    assert loss(on_circle(30), seen(0)).item() == pytest.approx(by_hand, abs=1e-5)


def test_arcface_falls_steadily_with_the_angle() -> None:
    loss = Angular(2, 2, angle=0.5)
    own = torch.linspace(-1, 1, 400)
    assert (loss._turned(own).diff() > 0).all()


def test_distillation_leaves_out_photos_the_teacher_did_not_see() -> None:
    targets, known = on_circle(0, 0), torch.tensor([True, False])
    batch = Seen(torch.tensor([0, 1]), False, targets, known)
    loss = Distillation()(on_circle(60, 180), batch)
    assert loss.item() == pytest.approx(1 - 0.5, abs=1e-6)


def test_relations_are_those_of_photos_that_the_teacher_saw() -> None:
    """Three photos known, one not: chords over their mean, half the squared differences."""
    targets, known = on_circle(0, 60, 180, 300), torch.tensor([True, True, True, False])
    batch = Seen(torch.tensor([0, 1, 2, 3]), False, targets, known)

    def chords(*pairs: tuple[float, float]) -> list[float]:
        lengths = [2 * math.sin(math.radians(abs(a - b) / 2)) for a, b in pairs]
        return [length / (sum(lengths) / len(lengths)) for length in lengths]

    own = chords((0, 90), (0, 120), (90, 120))
    theirs = chords((0, 60), (0, 180), (60, 180))
    by_hand = sum((a - b) ** 2 / 2 for a, b in zip(own, theirs, strict=True)) / 3
    assert Relational()(on_circle(0, 90, 120, 7), batch).item() == pytest.approx(by_hand, abs=1e-6)
    alike = Relational()(on_circle(40, 100, 220, 7), batch)  # the teacher's, turned by 40 degrees
    assert alike.item() == pytest.approx(0, abs=1e-6)
    nobody = Seen(batch.labels, False, targets, torch.tensor([True, False, False, False]))
    assert Relational()(targets, nobody).item() == 0


@pytest.mark.parametrize("side", [2, 8])
def test_hints_compare_maps_cell_by_cell_in_standard_units(side: int) -> None:
    """Own map of 3 channels, the teacher's of 2 and 4 x 4 cells, as numpy has it."""
    torch.manual_seed(3)
    own, theirs = 5 * torch.randn(6, 3, side, side) + 1, 7 - 2 * torch.randn(6, 2, 4, 4)
    loss = Hints(3, 2, side)
    batch = Seen(torch.zeros(6, dtype=torch.int64), False, hints=theirs.half(), maps=own)
    found = loss(torch.zeros(6, 2), batch).item()

    def standard(maps: np.ndarray) -> np.ndarray:
        across = (0, 2, 3)
        return (maps - maps.mean(across, keepdims=True)) / maps.std(across, keepdims=True)

    weight = loss.bring[1].weight.detach().numpy()[:, :, 0, 0]
    bias = loss.bring[1].bias.detach().numpy()[:, None, None]
    brought = np.einsum("oc,nchw->nohw", weight, standard(own.numpy())) + bias
    if side == 8:
        cells = brought.reshape(6, 2, 4, 2, 4, 2).mean((3, 5))
    else:  # channel 4 c + 2 y + x of a cell is its quarter (y, x) in channel c
        cells = brought.reshape(6, 2, 2, 2, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(6, 2, 4, 4)
    by_hand = np.square(cells - standard(theirs.half().float().numpy())).mean()
    assert found == pytest.approx(by_hand, abs=1e-4)
    with pytest.raises(InputError, match=r"--loss hints: name a teacher that is an \.onnx"):
        loss(torch.zeros(6, 2), Seen(batch.labels, False, maps=own))


def test_sums_weigh_their_parts() -> None:
    embeddings, batch = on_circle(0, 60, 20, 90), seen(0, 0, 1, 1)
    both = make_loss("contrastive + 0.25*triplet", margin=1.0, people=2, dim=2)(embeddings, batch)
    apart = Contrastive(1.0)(embeddings, batch) + 0.25 * Triplet()(embeddings, batch)
    assert both.item() == pytest.approx(apart.item(), abs=1e-6)


@pytest.mark.parametrize("words", ["hinge", "contrastive+", "x*triplet", "-1*triplet", "0*triplet"])
def test_a_loss_that_is_none_is_named(words: str) -> None:
    with pytest.raises(InputError, match="--loss"):
        make_loss(words, margin=1.0, people=2, dim=2)
