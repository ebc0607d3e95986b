"""Batches on the way to the device: drawn by the samplers, changed by worker processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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
        labels: int64[n], who they show; -1 for a blend of people.
        pictures: int64[n] below `pictures_of`, the same for the same picture until it is renewed.
        clean: uint8[n, size, size, 3], what a teacher is to see, or None where it was asked before.
    """

    crops: Tensor
    rows: Tensor
    labels: Tensor
    pictures: Tensor
    clean: Tensor | None


def draw(faces: Faces, recipe: Recipe, epoch: int) -> list[NDArray[np.int64]]:
    """The rows of each batch of an epoch, the same for the same seed and epoch."""
    rng = np.random.default_rng([recipe.seed, epoch])
    if recipe.sampler == "pairs":
        pairs = draw_pairs(faces.labels, faces.photos, rng, recipe.cross_photo)
        return pair_batches(pairs, recipe.batch_size)
    people = recipe.batch_size // recipe.photos_per_person
    return people_batches(faces.labels, faces.photos, rng, people, recipe.photos_per_person)


def pictures_of(faces: Faces) -> int:
    """How many pictures are made of the faces: one of each as a first, one as a partner."""
    return 2 * len(faces)


def renewed(pictures: int, epoch: int, every: int) -> NDArray[np.bool_]:
    """bool[pictures]: which are made anew in an epoch, the same share of them in each."""
    anew: NDArray[np.bool_] = (np.arange(pictures) + epoch) % every == 0
    return anew


class Loader:
    """The batches of an epoch from a step on.

    A picture's change hangs on seed, epoch, step and place alone, not on how many workers there
    are: a run that goes on after a kill sees what it would have seen. The picture itself, where
    it is blended or bent, stays for `renew` epochs: `renewed` tells when it changes.
    """

    def __init__(self, faces: Faces, recipe: Recipe, workers: int) -> None:
        self._seed, self._renew, self._faces = recipe.seed, recipe.renew, len(faces)
        self._paired = recipe.sampler == "pairs"
        blending = Blending(recipe.mix, recipe.bend)
        self._views = _Views(faces, blending, Augmentation.of(recipe.augment, recipe.distort))
        self._workers = workers

    def batches(
        self, drawn: Sequence[NDArray[np.int64]], epoch: int, first: int, pinned: bool
    ) -> Iterator[Batch]:
        """What `draw` gave for an epoch, from step `first` on."""
        seeds = [np.random.SeedSequence([self._seed, epoch, n]) for n in range(len(drawn))]
        items = [
            self._items(rows, seed.generate_state(len(rows)), epoch)
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
            worker_init_fn=_stand_back,
        )
        return (Batch(*parts) for parts in loader)

    def _items(self, rows: NDArray[np.int64], seeds: NDArray[Any], epoch: int) -> list[_Item]:
        partner = (
            np.arange(len(rows)) >= len(rows) / 2 if self._paired else np.zeros(len(rows), int)
        )
        pictures = rows + self._faces * partner
        periods = (pictures + epoch) // self._renew  # another where it is `renewed`
        columns = rows.tolist(), seeds.tolist(), pictures.tolist(), periods.tolist()
        return [
            _Item(row, seed, picture, (self._seed, period, picture))
            for row, seed, picture, period in zip(*columns, strict=True)
        ]


class _Item(NamedTuple):
    """A place in a batch: face, seed of its change, picture, and what that one is drawn by."""

    row: int
    seed: int
    picture: int
    made_by: tuple[int, int, int]


class _Views(Dataset[Any]):
    def __init__(self, faces: Faces, blending: Blending, augmentation: Augmentation) -> None:
        self._crops, self._labels = faces.crops, faces.labels
        self._blending, self._augmentation = blending, augmentation

    def __len__(self) -> int:
        return len(self._crops)

    def __getitems__(self, items: list[_Item]) -> tuple[Tensor | None, ...]:
        rows, seeds, pictures, made_by = zip(*items, strict=True)
        labels = torch.from_numpy(self._labels[list(rows)])
        known = torch.tensor(rows), labels, torch.tensor(pictures)
        if not self._blending:
            plain = self._augmentation([self._crops[row] for row in rows], seeds)
            return torch.from_numpy(plain), *known, None
        made = [
            self._blending(self._crops, row, np.random.default_rng(seed))
            for row, seed in zip(rows, made_by, strict=True)
        ]
        clean = np.stack([picture for picture, _ in made])
        one = torch.tensor([whole for _, whole in made])
        crops = torch.from_numpy(self._augmentation(list(clean), seeds))
        return crops, known[0], labels.where(one, -1), known[2], torch.from_numpy(clean)


def _as_it_is(batch: Any) -> Any:
    return batch


def _context() -> str | None:
    """Fork where there is one: the crops are shared, not copied."""
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else None


def _stand_back(worker: int) -> None:
    """Work when nothing else wants its core: the prepared batches bridge the wait.

    Otherwise it halts the learner while the teacher's core stands idle.
    """
    if hasattr(os, "nice"):
        os.nice(19)
