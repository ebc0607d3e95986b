"""Which photos meet in a batch: drawn anew each epoch, decided by seed and epoch alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Photos ordered by person, then photo: each person and each photo is one run of `order`.

    Attributes:
        order: int64[n], rows of the data.
        place: int64[n], where a row stands in `order`.
        person_start, person_count: int64[n], the run of a row's person.
        photo_start, photo_count: int64[n], the run of a row's photo, its versions.
    """

    order: Rows
    place: Rows
    person_start: Rows
    person_count: Rows
    photo_start: Rows
    photo_count: Rows

    @classmethod
    def of(cls, labels: Rows, photos: Rows) -> Blocks:
        """From int64[n] people and int64[n] photo numbers."""
        order = np.lexsort((photos, labels))
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return cls(order, place, *_runs(labels, order), *_runs(photos, order))

    @property
    def other_photos(self) -> Rows:
        """int64[n]: pictures of the same person that are of another photo."""
        return self.person_count - self.photo_count


def _runs(values: Rows, order: Rows) -> tuple[Rows, Rows]:
    """Start and length of each row's run of equal values in `order`."""
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, len(ordered)])
    start, length = np.empty_like(values), np.empty_like(values)
    start[order], length[order] = np.repeat(starts, lengths), np.repeat(lengths, lengths)
    return start, length


def draw_pairs(
    labels: Rows, photos: Rows, rng: np.random.Generator, cross_photo: float = -1.0
) -> Rows:
    """Each row once, in random order, with a partner: half of them of the same person.

    Args:
        labels, photos: int64[n], who a picture shows, and of which photo it is a version.
        rng: decides.
        cross_photo: share of positives that cross two photos where the person has two; negative
            takes any other picture of the person.

    Returns:
        int64[n, 2]. A row whose person has no other picture gets a partner of another person.
    """
    blocks = Blocks.of(labels, photos)
    rows = rng.permutation(len(labels))
    positive = (rng.random(len(rows)) < 0.5) & (blocks.person_count[rows] > 1)
    same = _partner_of_person(blocks, rows, rng, cross_photo)
    other = _partner_of_others(blocks, rows, rng)
    return np.column_stack([rows, np.where(positive, same, other)])


def _partner_of_person(
    blocks: Blocks, rows: Rows, rng: np.random.Generator, cross_photo: float
) -> Rows:
    share, at = rng.random(len(rows)), rng.random(len(rows))
    others, versions = blocks.other_photos[rows], blocks.photo_count[rows]
    if cross_photo < 0:
        share_wanted = others / np.maximum(1, others + versions - 1)
    else:
        share_wanted = np.where(versions > 1, cross_photo, 1.0)
    crossing = (share < share_wanted) & (others > 0)
    return np.where(crossing, another_photo(blocks, rows, at), _version(blocks, rows, at))


def another_photo(blocks: Blocks, rows: Rows, at: NDArray[np.float64]) -> Rows:
    """A picture of each row's person from another photo; float64[n] `at` in [0, 1) decides."""
    step = (at * blocks.other_photos[rows]).astype(np.int64)
    there = blocks.person_start[rows] + step
    there = there + np.where(there >= blocks.photo_start[rows], blocks.photo_count[rows], 0)
    found: Rows = blocks.order[np.minimum(there, len(blocks.order) - 1)]
    return found


def _version(blocks: Blocks, rows: Rows, at: NDArray[np.float64]) -> Rows:
    start, count = blocks.photo_start[rows], blocks.photo_count[rows]
    step = 1 + (at * (count - 1)).astype(np.int64)
    found: Rows = blocks.order[start + (blocks.place[rows] - start + step) % count]
    return found


def _partner_of_others(blocks: Blocks, rows: Rows, rng: np.random.Generator) -> Rows:
    """A picture of another person, each other person with the same chance."""
    starts = np.unique(blocks.person_start)
    lengths = np.diff(np.r_[starts, len(blocks.order)])
    own = np.searchsorted(starts, blocks.person_start[rows])
    person = (own + 1 + rng.integers(0, len(starts) - 1, len(rows))) % len(starts)
    step = (rng.random(len(rows)) * lengths[person]).astype(np.int64)
    found: Rows = blocks.order[starts[person] + step]
    return found


def pair_batches(pairs: Rows, size: int) -> list[Rows]:
    """Batches of `size` pairs: the first of each, then the second of each; the last is shorter."""
    parts = [pairs[n : n + size] for n in range(0, len(pairs), size)]
    return [part.T.ravel() for part in parts]


def people_batches(
    labels: Rows, photos: Rows, rng: np.random.Generator, people: int, each: int
) -> list[Rows]:
    """P x K batches: `people` people, `each` pictures of each, other photos first.

    As many batches as show twice as many pictures as there are, as the pairs do, where everybody
    has `each`. People with fewer are not topped up, those with one are left out.
    """
    several = [rows for rows in _rows_of_people(labels) if len(rows) > 1]
    people = min(people, len(several))
    if people < 2:
        return []
    batches = []
    for _ in range(max(1, 2 * len(labels) // (people * each))):
        chosen = rng.choice(len(several), people, replace=False)
        batches.append(np.concatenate([_some(several[n], photos, rng, each) for n in chosen]))
    return batches


def _rows_of_people(labels: Rows) -> list[Rows]:
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _some(rows: Rows, photos: Rows, rng: np.random.Generator, each: int) -> Rows:
    """Pictures of one person: one of each photo in random order, then their further versions."""
    rows = rng.permutation(rows)
    turn = np.zeros(len(rows), dtype=np.int64)
    seen: dict[int, int] = {}
    for n, photo in enumerate(photos[rows].tolist()):
        turn[n] = seen[photo] = seen.get(photo, -1) + 1
    return rows[np.argsort(turn, kind="stable")[:each]]


def crossing_share(batches: list[Rows], labels: Rows, photos: Rows, paired: bool) -> float:
    """Share of the batches' positive pairs that cross two photos; NaN without a positive."""
    crossing = total = 0
    for rows in batches:
        if paired:
            first, second = np.split(rows, 2)
        else:
            one, two = np.triu_indices(len(rows), 1)
            first, second = rows[one], rows[two]
        same = labels[first] == labels[second]
        total += int(same.sum())
        crossing += int((same & (photos[first] != photos[second])).sum())
    return crossing / total if total else float("nan")
