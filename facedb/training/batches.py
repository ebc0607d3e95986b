"""Batches on the way to the device: drawn by the samplers, changed by worker processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from facedb.training.blends import Blending
from facedb.training.data import Faces
from facedb.training.recipes import Recipe
from facedb.training.samplers import draw_pairs, pair_batches, people_batches
from facedb.training.transforms import Augmentation


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures that meet in one step.

    Attributes:
        crops: uint8[n, size, size, 3].
        rows: int64[n], which faces of the data they are.
        labels: int64[n], who they show; -1 for a blend of two people.
        clean: uint8[n, size, size, 3], what a teacher is to see, or None where it was asked before.
    """

    crops: Tensor
    rows: Tensor
    labels: Tensor
    clean: Tensor | None


def draw(faces: Faces, recipe: Recipe, epoch: int) -> list[NDArray[np.int64]]:
    """The rows of each batch of an epoch, the same for the same seed and epoch."""
    rng = np.random.default_rng([recipe.seed, epoch])
    if recipe.sampler == "pairs":
        pairs = draw_pairs(faces.labels, faces.photos, rng, recipe.cross_photo)
        return pair_batches(pairs, recipe.batch_size)
    people = recipe.batch_size // recipe.photos_per_person
    return people_batches(faces.labels, faces.photos, rng, people, recipe.photos_per_person)


class Loader:
    """The batches of an epoch from a step on.

    A picture's change hangs on seed, epoch, step and place alone, not on how many workers there
    are: a run that goes on after a kill sees what it would have seen.
    """

    def __init__(self, faces: Faces, recipe: Recipe, workers: int) -> None:
        self._seed = recipe.seed
        blending = Blending(recipe.mix, recipe.bend)
        self._views = _Views(faces, blending, Augmentation.of(recipe.augment, recipe.distort))
        self._workers = workers

    def batches(
        self, drawn: Sequence[NDArray[np.int64]], epoch: int, first: int, pinned: bool
    ) -> Iterator[Batch]:
        """What `draw` gave for an epoch, from step `first` on."""
        seeds = [np.random.SeedSequence([self._seed, epoch, n]) for n in range(len(drawn))]
        items = [
            list(zip(rows.tolist(), seed.generate_state(len(rows)).tolist(), strict=True))
            for rows, seed in zip(drawn[first:], seeds[first:], strict=True)
        ]
        several = self._workers > 0
        loader: Any = DataLoader(
            self._views,
            batch_sampler=items,
            num_workers=self._workers,
            collate_fn=_as_it_is,
            pin_memory=pinned,
            prefetch_factor=4 if several else None,
            multiprocessing_context=_context() if several else None,
            worker_init_fn=_one_thread,
        )
        return (Batch(*parts) for parts in loader)


class _Views(Dataset[Any]):
    def __init__(self, faces: Faces, blending: Blending, augmentation: Augmentation) -> None:
        self._crops, self._labels = faces.crops, faces.labels
        self._blending, self._augmentation = blending, augmentation

    def __len__(self) -> int:
        return len(self._crops)

    def __getitems__(self, items: list[tuple[int, int]]) -> tuple[Tensor | None, ...]:
        rows, seeds = zip(*items, strict=True)
        chosen, labels = torch.tensor(rows), torch.from_numpy(self._labels[list(rows)])
        if not self._blending:
            crops = self._augmentation([self._crops[row] for row in rows], seeds)
            return torch.from_numpy(crops), chosen, labels, None
        made = [
            self._blending(self._crops, *item) for item in zip(rows, _random(seeds), strict=True)
        ]
        clean = np.stack([picture for picture, _ in made])
        one = torch.tensor([whole for _, whole in made])
        crops = self._augmentation(list(clean), seeds)
        return torch.from_numpy(crops), chosen, labels.where(one, -1), torch.from_numpy(clean)


def _random(seeds: Sequence[int]) -> Iterator[np.random.Generator]:
    # Another stream than the augmentation's of the same seed.
    return (np.random.default_rng([seed, 1]) for seed in seeds)


def _as_it_is(batch: Any) -> Any:
    return batch


def _context() -> str | None:
    """Fork where there is one: the crops are shared, not copied."""
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else None


def _one_thread(worker: int) -> None:
    import cv2

    cv2.setNumThreads(0)
