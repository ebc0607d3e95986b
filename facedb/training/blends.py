"""New faces out of those at hand: people blended, a face bent; the teacher is asked afresh.

Few photographs make unlimited honest targets (Beyer et al., Knowledge distillation: A good teacher
is patient and consistent, CVPR 2022): what the teacher says of a blend is true of the blend. The
more ways there are to blend, the less a student learns by heart whom it has been shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from facedb.types import Pixels

_CELLS = 3


@dataclass(frozen=True, slots=True)
class Blending:
    """How often, and how much.

    Attributes:
        mix: share of pictures that are blends of two people or three.
        bend: standard deviation of the displacement of a picture's geometry, in parts of its side.
    """

    mix: float
    bend: float

    def __bool__(self) -> bool:
        return self.mix > 0 or self.bend > 0

    def __call__(self, crops: Pixels, row: int, rng: np.random.Generator) -> tuple[Pixels, bool]:
        """A picture out of crops uint8[n, s, s, 3], and whether it still shows the row's person."""
        picture = _mirrored(crops[row], rng)
        mixed = rng.random() < self.mix
        if mixed:
            blend, others = _WAYS[rng.integers(len(_WAYS))]
            for other in rng.integers(len(crops), size=others):
                picture = blend(picture, _mirrored(crops[other], rng), rng)
        if self.bend:
            picture = bent(picture, self.bend * rng.random(), rng)
        return picture, not mixed


def blended(first: Pixels, second: Pixels, rng: np.random.Generator) -> Pixels:
    """Two aligned faces uint8[s, s, 3] under one smooth mask: an even share, or a slope."""
    line = np.linspace(-1, 1, len(first), dtype=np.float32)
    across, down = rng.normal(0, 6, 2) if rng.random() < 0.5 else (0.0, 0.0)
    slope = rng.normal() + across * line[None, :] + down * line[:, None]
    return _under(slope, first, second)


def patched(first: Pixels, second: Pixels, rng: np.random.Generator) -> Pixels:
    """Parts of one face uint8[s, s, 3], parts of the other, islands with smooth shores."""
    side, cells = len(first), int(rng.integers(3, 6))
    coarse = rng.normal(0, 4, (cells, cells)).astype(np.float32)
    heights = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return _under(heights, first, second)


def crossed(first: Pixels, second: Pixels, rng: np.random.Generator) -> Pixels:
    """The coarse of one face uint8[s, s, 3] and the fine of the other (hybrid images, Oliva 2006).

    They part at a Gaussian of 1.4 to 8 pixels.
    """
    sigma = 2 ** rng.uniform(0.5, 3)
    fine = cv2.subtract(second, cv2.GaussianBlur(second, (0, 0), sigma), dtype=cv2.CV_16S)
    coarse = cv2.GaussianBlur(first, (0, 0), sigma)
    return np.asarray(cv2.add(coarse, fine, dtype=cv2.CV_8U), np.uint8)


def exaggerated(first: Pixels, second: Pixels, rng: np.random.Generator) -> Pixels:
    """A face uint8[s, s, 3] further from the other than it is, by up to four fifths."""
    much = 0.8 * rng.random()
    return np.asarray(cv2.addWeighted(first, 1 + much, second, -much, 0), np.uint8)


_Way = Callable[[Pixels, Pixels, np.random.Generator], Pixels]
_WAYS: Final[tuple[tuple[_Way, int], ...]] = (
    (blended, 1), (patched, 2), (crossed, 1), (exaggerated, 1),
)  # fmt: skip
"""Ways to blend, drawn evenly, and how many others each takes in."""


def bent(picture: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """A face uint8[s, s, 3] whose geometry is displaced smoothly: another head, other features."""
    side = len(picture)
    cells = rng.normal(0, strength * side, (_CELLS, _CELLS, 2)).astype(np.float32)
    shift = cv2.resize(cells, (side, side), interpolation=cv2.INTER_CUBIC)
    places = np.arange(side, dtype=np.float32)
    x, y = shift[..., 0] + places[None, :], shift[..., 1] + places[:, None]
    return np.asarray(
        cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def _under(heights: NDArray[Any], first: Pixels, second: Pixels) -> Pixels:
    """The first where the heights are above 0, the second where they are below; smoothly."""
    mask = (1 / (1 + np.exp(-heights))).astype(np.float32)
    return np.asarray(cv2.blendLinear(first, second, mask, 1 - mask), np.uint8)


def _mirrored(picture: Pixels, rng: np.random.Generator) -> Pixels:
    flipped: NDArray[np.uint8] = picture[:, ::-1] if rng.random() < 0.5 else picture
    return np.ascontiguousarray(flipped)
