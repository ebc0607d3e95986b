"""Losses on unit embeddings: each a small object that takes a batch's embeddings to a scalar.

Distances are Euclidean between unit vectors, in [0, 2].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facedb.errors import InputError

_TINY = 1e-12
GRID = 4
"""Cells a side in which feature maps are compared."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a loss may look at beside the embeddings of a batch.

    Attributes:
        labels: int64[n], who each photo shows; -1 where that is nobody in particular.
        paired: whether row i and row i + n/2 are a drawn pair; else all pairs of the batch count.
        targets: float32[n, d] unit rows of the teacher, or None.
        known: bool[n], where the teacher saw a face.
        hints: float[n, c, GRID, GRID] of the teacher's feature map, or None.
        maps: float[n, k, h, w] of the network's own, or None.
    """

    labels: Tensor
    paired: bool
    targets: Tensor | None = None
    known: Tensor | None = None
    hints: Tensor | None = None
    maps: Tensor | None = None


class Contrastive(nn.Module):
    """y d^2 + (1 - y) max(0, margin - d)^2 (Hadsell, Chopra and LeCun, CVPR 2006, eq. 4, times 2).

    On drawn pairs, their mean. On all pairs of a batch, where most are of two people, the mean of
    the means of both kinds, so that each weighs the same.
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, embeddings: Tensor, seen: Seen) -> Tensor:
        """embeddings float32[n, d] unit rows -> scalar."""
        if seen.paired:
            first, second = embeddings.chunk(2)
            known = torch.minimum(*seen.labels.chunk(2)) >= 0
            same = torch.eq(*seen.labels.chunk(2))
            return _mean_or_zero(self.terms((first - second).square().sum(1), same)[known])
        somebody = seen.labels >= 0
        squared, same = all_pairs(embeddings[somebody], seen.labels[somebody])
        terms = self.terms(squared, same)
        return _mean_or_zero(terms[same]) / 2 + _mean_or_zero(terms[~same]) / 2

    def terms(self, squared: Tensor, same: Tensor) -> Tensor:
        """Each pair's term, of squared distances float32[m] and bool[m]."""
        # The root's slope is infinite at 0, where a pair is of one photo twice.
        short = self.margin - (squared + _TINY).sqrt()
        return torch.where(same, squared, short.clamp(min=0).square())


class Triplet(nn.Module):
    """max(0, margin + farthest same - nearest other) a photo, batch-hard.

    Hermans, Beyer and Leibe, In Defense of the Triplet Loss, 2017, eq. 5.
    """

    def __init__(self, margin: float = 0.3) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, embeddings: Tensor, seen: Seen) -> Tensor:
        """embeddings float32[n, d] unit rows -> scalar; 0 where no photo has both kinds."""
        somebody = seen.labels >= 0
        embeddings, labels = embeddings[somebody], seen.labels[somebody]
        if not len(labels):
            return embeddings.sum()
        distances = (squared_distances(embeddings) + _TINY).sqrt()
        same = labels[:, None] == labels[None, :]
        itself = torch.eye(len(same), dtype=torch.bool, device=same.device)
        farthest = distances.masked_fill(~same | itself, -1).amax(1)
        nearest = distances.masked_fill(same, 3).amin(1)
        whole = (farthest >= 0) & (nearest < 3)
        return _mean_or_zero((self.margin + farthest - nearest)[whole].clamp(min=0))


class Angular(nn.Module):
    """Softmax over people by cosine, scaled, with a margin on the own person's.

    CosFace takes the margin from the cosine (Wang et al., CVPR 2018, eq. 4); ArcFace adds it to
    the angle (Deng et al., CVPR 2019, eq. 3), and past 180 degrees continues in a straight line.
    """

    def __init__(
        self, people: int, dim: int, *, cosine: float = 0.0, angle: float = 0.0, scale: float = 30.0
    ) -> None:
        super().__init__()
        self.centres = nn.Parameter(F.normalize(torch.randn(people, dim)))
        self.cosine, self.angle, self.scale = cosine, angle, scale

    def forward(self, embeddings: Tensor, seen: Seen) -> Tensor:
        """embeddings float32[n, d] unit rows -> scalar."""
        somebody = seen.labels >= 0
        embeddings, labels = embeddings[somebody], seen.labels[somebody]
        cosines = embeddings @ F.normalize(self.centres).T
        rows = torch.arange(len(cosines), device=cosines.device)
        own = cosines[rows, labels]
        logits = cosines.clone()
        logits[rows, labels] = self._turned(own) - self.cosine
        terms = F.cross_entropy(self.scale * logits, labels, reduction="none")
        return _mean_or_zero(terms)

    def _turned(self, own: Tensor) -> Tensor:
        if self.angle == 0:
            return own
        sine = (1 - own.square()).clamp(min=_TINY).sqrt()
        turned = own * math.cos(self.angle) - sine * math.sin(self.angle)
        beyond = own <= -math.cos(self.angle)
        return torch.where(beyond, own - self.angle * math.sin(self.angle), turned)


class Distillation(nn.Module):
    """1 - cosine to the teacher's embedding, the mean over photos in which it saw a face."""

    def forward(self, embeddings: Tensor, seen: Seen) -> Tensor:
        """embeddings float32[n, d] unit rows -> scalar."""
        if seen.targets is None or seen.known is None:
            raise InputError("--loss distillation: name the teacher with --teacher")
        apart = 1 - (embeddings * seen.targets).sum(1)
        return _mean_or_zero(apart[seen.known])


class Relational(nn.Module):
    """Huber's loss of the distances between photos, each in units of their mean, to the teacher's.

    Park, Kim, Lu and Cho, Relational Knowledge Distillation, CVPR 2019, eqs. 4 to 6; over pairs of
    photos in both of which the teacher saw a face. Its embeddings may have another width.
    """

    def forward(self, embeddings: Tensor, seen: Seen) -> Tensor:
        """embeddings float32[n, d] unit rows -> scalar; 0 where fewer than two are known."""
        if seen.targets is None or seen.known is None:
            raise InputError("--loss relational: name the teacher with --teacher")
        labels = seen.labels[seen.known]
        own, theirs = (
            _potentials(all_pairs(rows[seen.known], labels)[0])
            for rows in (embeddings, seen.targets)
        )
        return _mean_or_zero(F.smooth_l1_loss(own, theirs, reduction="none"))


class Hints(nn.Module):
    """Mean squared error to the teacher's feature map, both in standard units a channel.

    Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015, eq. 3. A convolution that is
    thrown away after training makes the teacher's channels out of the network's own; of few large
    cells it makes several each, as sub-pixel convolution does (Shi et al., CVPR 2016).

    Args:
        own, theirs: channels of both maps.
        side: cells a side of the network's own.
    """

    def __init__(self, own: int, theirs: int, side: int) -> None:
        super().__init__()
        finer = max(1, GRID // side)
        self.bring = nn.Sequential(
            nn.BatchNorm2d(own, affine=False),
            nn.Conv2d(own, theirs * finer**2, 1),
            nn.PixelShuffle(finer),
        )
        self.standard = nn.BatchNorm2d(theirs, affine=False)

    def forward(self, embeddings: Tensor, seen: Seen) -> Tensor:
        """embeddings float32[n, d] unit rows -> scalar."""
        if seen.hints is None or seen.maps is None:
            raise InputError("--loss hints: name a teacher that is an .onnx file with --teacher")
        own = F.adaptive_avg_pool2d(self.bring(seen.maps.float()), GRID)
        return F.mse_loss(own, self.standard(seen.hints.float()))


class Sum(nn.Module):
    """Losses added up, each times its weight."""

    def __init__(self, parts: Sequence[tuple[float, nn.Module]]) -> None:
        super().__init__()
        self.weights = [weight for weight, _ in parts]
        self.parts = nn.ModuleList(part for _, part in parts)

    def forward(self, embeddings: Tensor, seen: Seen) -> Tensor:
        """embeddings float32[n, d] unit rows -> scalar."""
        terms = [
            w * part(embeddings, seen) for w, part in zip(self.weights, self.parts, strict=True)
        ]
        return torch.stack(terms).sum()


def make_loss(
    words: str, *, margin: float, people: int, dim: int, maps: tuple[int, int, int] = (1, 1, 1)
) -> Sum:
    """The loss that words such as "contrastive+0.5*cosface" name.

    Args:
        words: losses and their weights.
        margin: of the contrastive loss.
        people: how many the angular losses tell apart.
        dim: length of an embedding.
        maps: what hints compare: channels of the network's and of the teacher's, cells a side.

    Raises:
        InputError: a part is no loss, or its weight no number above 0.
    """
    parts = []
    for part in words.replace(" ", "").split("+"):
        weight, _, name = part.rpartition("*")
        parts.append((_weight(weight, part), _loss(name, margin, people, dim, maps)))
    return Sum(parts)


def _weight(text: str, part: str) -> float:
    try:
        weight = float(text or 1)
    except ValueError:
        weight = 0.0
    if not 0 < weight < math.inf:
        raise InputError(f"--loss {part}: {text!r} is no weight above 0, such as 0.5*cosface")
    return weight


def _loss(name: str, margin: float, people: int, dim: int, maps: tuple[int, int, int]) -> nn.Module:
    match name:
        case "contrastive":
            return Contrastive(margin)
        case "triplet":
            return Triplet()
        case "cosface":
            return Angular(people, dim, cosine=0.35)
        case "arcface":
            return Angular(people, dim, angle=0.5)
        case "distillation":
            return Distillation()
        case "relational":
            return Relational()
        case "hints":
            return Hints(*maps)
    raise InputError(
        f"--loss {name}: no such loss; take contrastive, triplet, cosface, arcface, distillation, "
        "relational, hints, or a sum such as contrastive+0.5*cosface"
    )


def squared_distances(embeddings: Tensor) -> Tensor:
    """float32[n, n] in [0, 4], of unit rows float32[n, d]."""
    return (2 - 2 * embeddings @ embeddings.T).clamp(min=0)


def all_pairs(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances float32[n (n - 1) / 2] of each two rows, and whether they are of one."""
    first, second = torch.triu_indices(len(labels), len(labels), 1, device=labels.device)
    squared = squared_distances(embeddings)[first, second]
    return squared, labels[first] == labels[second]


def _potentials(squared: Tensor) -> Tensor:
    """Distances over their mean, of squared distances float32[m]."""
    distances = (squared + _TINY).sqrt()
    return distances / distances.mean()


def _mean_or_zero(terms: Tensor) -> Tensor:
    return terms.sum() / max(1, len(terms))
