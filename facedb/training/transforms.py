"""What happens to a training photo after Resize: the published transforms, and distortions.

Normalize(0.5, 0.5) and ToTensorV2 are the last of the published transforms; the network does the
same to a batch of uint8 (a quarter of the traffic), and a test holds the two side by side.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facedb.training.distortions import KINDS, distort
from facedb.types import Pixels

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


def published() -> Any:
    """HorizontalFlip, BrightnessContrast, HueSaturation and Shift-Scale-Rotate (as Affine).

    Albumentations 2; each at its own default strength and half of the time, which the publication
    doesn't say, but rotation within 15 degrees, since faces stand upright.
    """
    import albumentations as A

    return A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.RandomBrightnessContrast(p=0.5),
            A.HueSaturationValue(p=0.5),
            A.Affine(
                scale=(0.9, 1.1), translate_percent=(-0.0625, 0.0625), rotate=(-15, 15), p=0.5
            ),
        ]
    )


def jitter() -> Any:
    """For aligned crops: as much as a detector's landmarks err, and other light."""
    import albumentations as A
    import cv2

    return A.Compose(
        [
            A.Affine(
                scale=(0.94, 1.06),
                translate_percent=(-0.03, 0.03),
                rotate=(-5, 5),
                border_mode=cv2.BORDER_REPLICATE,
                p=1.0,
            ),
            A.RandomBrightnessContrast(p=0.5),
            A.HueSaturationValue(p=0.3),
            A.ToGray(p=0.05),
        ]
    )


_PIPELINES: dict[str, Callable[[], Any]] = {
    "published": published,
    "jitter": jitter,
    "none": lambda: None,
}


def normalised(size: int) -> Any:
    """The validation transform as published: Resize, Normalize(0.5, 0.5), ToTensorV2."""
    import albumentations as A
    from albumentations.pytorch import ToTensorV2

    return A.Compose(
        [A.Resize(size, size), A.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), ToTensorV2()]
    )


@dataclass(frozen=True, slots=True)
class Augmentation:
    """A seeded change of crops.

    Attributes:
        pipeline: an Albumentations Compose, or None.
        distorted: share of crops that also meet one of the seven distortions.
    """

    pipeline: Any
    distorted: float

    @classmethod
    def of(cls, augment: str, distorted: float) -> Augmentation:
        """`augment` is "published", "jitter" or "none"."""
        return cls(_PIPELINES[augment](), distorted)

    def __call__(self, crops: Sequence[Pixels], seeds: Sequence[int]) -> Pixels:
        """uint8[n, s, s, 3] of n crops; each result hangs on its crop and seed alone."""
        return np.stack([self._one(crop, seed) for crop, seed in zip(crops, seeds, strict=True)])

    def _one(self, crop: Pixels, seed: int) -> Pixels:
        if self.distorted:
            rng = np.random.default_rng(seed)
            if rng.random() < self.distorted:
                crop = distort(crop, KINDS[rng.integers(len(KINDS))], seed=seed)
        if self.pipeline is not None:
            self.pipeline.set_random_seed(seed)
            crop = self.pipeline(image=crop)["image"]
        return crop
