"""Who is gallery, probe and stranger, drawn by a seed and stored by sha256: re-runnable."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facedb.errors import InputError
from facedb.evaluation.samples import Samples

SCHEMA = "facedb.split/1"


@dataclass(frozen=True, slots=True)
class Split:
    """sha256 digests of photos, each list sorted.

    Attributes:
        seed: what drew it; None for the first photo of each person by path.
        gallery: one photo of each person with two or more.
        mated: the other photos of these people.
        strangers: the photos of people with one.
    """

    seed: int | None
    gallery: tuple[str, ...]
    mated: tuple[str, ...]
    strangers: tuple[str, ...]


def open_set_split(samples: Samples, seed: int | None) -> Split:
    """Draw the open-set protocol: who has several photos is enrolled by one of them.

    Args:
        samples: clean photos, by person, then path.
        seed: of the draw; None takes the first photo of each person.
    """
    random = np.random.default_rng(seed)
    people = np.unique(samples.names, return_inverse=True)[1]
    number = np.bincount(people)
    order = np.argsort(people, kind="stable")
    starts = np.cumsum(number) - number
    drawn = np.zeros_like(number) if seed is None else random.integers(0, number)
    gallery = np.zeros(len(samples), dtype=np.bool_)
    gallery[order[starts + drawn]] = True
    several = number[people] > 1
    return Split(
        seed,
        _digests(samples, several & gallery),
        _digests(samples, several & ~gallery),
        _digests(samples, ~several),
    )


def write_split(split: Split, file: str) -> None:
    """Store a split as JSON, one digest a line."""
    Path(file).write_text(_text(split), encoding="utf-8")


def split_digest(split: Split) -> str:
    """The sha256 of the file that `write_split` makes of it."""
    return hashlib.sha256(_text(split).encode()).hexdigest()


def _text(split: Split) -> str:
    return json.dumps({"schema": SCHEMA, **asdict(split)}, indent=0) + "\n"


def read_split(file: str) -> Split:
    """Read a split; InputError when the file is none."""
    try:
        raw = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as a split: {error}") from error
    names = ("gallery", "mated", "strangers")
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA or not set(names) <= raw.keys():
        raise InputError(f"{file}: not a split of the form {SCHEMA}; name a file that is not there")
    return Split(raw.get("seed"), *(tuple(raw[name]) for name in names))


def split_of(samples: Samples, file: str | None, seed: int | None) -> Split:
    """The split stored in `file`; drawn, and stored there, when there is no such file yet.

    Raises:
        InputError: nobody has two photos; or the stored split was drawn by another seed, or names
            photos that are not among the samples.
    """
    if file is None or not os.path.exists(file):
        split = open_set_split(samples, seed)
        if not split.gallery:
            raise InputError("a split enrolls people of whom there are two photos; here is nobody")
        if file is not None:
            write_split(split, file)
        return split
    split = read_split(file)
    if seed is not None and seed != split.seed:
        drawn = "without --seed" if split.seed is None else f"with --seed {split.seed}"
        raise InputError(
            f"{file}: drawn {drawn}, not --seed {seed}; leave --seed out, or name a file that is "
            "not there for another draw"
        )
    missing = {*split.gallery, *split.mated, *split.strangers} - set(samples.digests.tolist())
    if missing:
        raise InputError(
            f"{file}: {len(missing):,} of its photos are not in this folder, the first "
            f"{min(missing)[:12]}; give the folder that the split was drawn from"
        )
    return split


def once(samples: Samples) -> Samples:
    """Each photo of a person once: copies of a file would be enrolled and asked for together."""
    keys = [
        (name, digest or path)
        for name, digest, path in zip(
            samples.names.tolist(), samples.digests.tolist(), samples.paths, strict=True
        )
    ]
    first = {key: row for row, key in reversed(list(enumerate(keys)))}
    return samples.take(np.array(sorted(first.values()), dtype=np.int64))


def rows_of(samples: Samples, digests: tuple[str, ...]) -> NDArray[np.bool_]:
    """bool[n]: the samples of these digests."""
    return np.isin(samples.digests, np.array(digests, dtype=np.str_))


def _digests(samples: Samples, rows: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(sorted(samples.digests[rows].tolist()))
