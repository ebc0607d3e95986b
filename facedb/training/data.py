"""A folder per person -> crops in memory, who they show, and which are versions of one photo.

Nothing is written into the folder: `distortion/` sub-folders are flattened here, in memory.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facedb.errors import InputError, PhotoError
from facedb.faces import Detector
from facedb.photos import PersonPhoto, Refusal, load_photo, walk_people
from facedb.photos.reasons import NO_FACE
from facedb.types import Pixels, Progress

CLEAN: Final = "clean"
_VERSION: Final = re.compile(r"(.+)_([a-z]+)")
_TWICE: Final = "the same photo as {}"


@dataclass(frozen=True, slots=True)
class Faces:
    """One face of each photo of a folder, in the order of their paths.

    Attributes:
        crops: uint8[n, size, size, 3], RGB.
        labels: int64[n], which of `names` a crop shows.
        photos: int64[n]; versions of one photo have the same number.
        kinds: what was done to the photo: "clean", "blurred", ...
        paths, digests: the files, and the sha256 of their bytes.
        names: people.
        left_out: files without a crop.
    """

    crops: Pixels = field(repr=False)
    labels: NDArray[np.int64]
    photos: NDArray[np.int64]
    kinds: tuple[str, ...]
    paths: tuple[str, ...]
    digests: tuple[str, ...]
    names: tuple[str, ...]
    left_out: tuple[Refusal, ...]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class _Read:
    """A file's digest and crop, or the reason why there is none."""

    digest: str = ""
    crop: Pixels | None = None
    reason: str = ""


def folders(data: Path, val: Path | None, seed: int) -> tuple[list[PersonPhoto], list[PersonPhoto]]:
    """What to train and what to validate on.

    `val` as named; else `data`/train and `data`/val; else a tenth of the people, drawn by `seed`.

    Raises:
        InputError: there is nothing, or too little, to train on.
    """
    if val is None and (data / "train").is_dir() and (data / "val").is_dir():
        data, val = data / "train", data / "val"
    train = walk_people(data).entries
    people = sorted({entry.identity for entry in train})
    if len(people) < 2:
        raise InputError(
            f"{data}: {len(people)} people with photos; pairs of two people need two or more "
            "folders, one a person"
        )
    if val is not None:
        proof = walk_people(val).entries
        if not proof:
            raise InputError(f"{val}: no photos of people to validate on")
        return train, proof
    if len(people) < 4:
        raise InputError(f"{data}: {len(people)} people cannot be split; name --val DIR")
    order = np.random.default_rng(seed).permutation(len(people))
    held = {people[n] for n in order[: max(2, round(len(people) / 10))]}
    return (
        [entry for entry in train if entry.identity not in held],
        [entry for entry in train if entry.identity in held],
    )


def read_faces(
    entries: Sequence[PersonPhoto],
    detector: Detector,
    size: int,
    progress: Progress | None = None,
) -> Faces:
    """Read, detect and crop; a photo that comes twice counts once.

    Crops that would fill half of the free memory lie in a temporary file instead.

    Raises:
        InputError: not one photo gave a crop.
    """
    crops = _room((len(entries), size, size, 3))
    kept: list[PersonPhoto] = []
    digests: dict[str, str] = {}
    left_out: list[Refusal] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        reads = pool.map(lambda entry: _read(entry.path, detector), entries)
        for done, (entry, read) in enumerate(zip(entries, reads, strict=True), 1):
            reason = read.reason
            if read.digest in digests:
                reason = _TWICE.format(digests[read.digest])
            if read.crop is None or reason:
                left_out.append(Refusal(entry.path, reason))
            else:
                crops[len(kept)] = read.crop
                digests[read.digest] = entry.path
                kept.append(entry)
            if progress is not None:
                progress(done, len(entries))
    if not kept:
        raise InputError(f"{left_out[0].path}: {left_out[0].reason}; no photo gave a face")
    return _faces(crops[: len(kept)], kept, tuple(digests), left_out)


def _faces(
    crops: Pixels, kept: list[PersonPhoto], digests: tuple[str, ...], left_out: list[Refusal]
) -> Faces:
    versions = [version(entry) for entry in kept]
    names, labels = np.unique([entry.identity for entry in kept], return_inverse=True)
    numbers: dict[tuple[str, str], int] = {}
    photos = [
        numbers.setdefault((entry.identity, photo), len(numbers))
        for entry, (photo, _) in zip(kept, versions, strict=True)
    ]
    return Faces(
        crops,
        labels.astype(np.int64),
        np.array(photos, dtype=np.int64),
        tuple(kind for _, kind in versions),
        tuple(entry.path for entry in kept),
        digests,
        tuple(str(name) for name in names),
        tuple(left_out),
    )


def version(entry: PersonPhoto) -> tuple[str, str]:
    """Which photo a file is a version of, and what was done to it.

    `Ann/distortion/ann1_blurred.jpg` is `Ann/ann1`, blurred; outside `distortion/` all is clean.
    """
    path = PurePath(entry.path)
    if path.parent.name != "distortion":
        return str(path.with_suffix("")), CLEAN
    match = _VERSION.fullmatch(path.stem)
    photo, kind = match.groups() if match else (path.stem, "distorted")
    return str(path.parent.parent / photo), kind


def apart(train: Faces, val: Faces) -> set[str]:
    """The people that are in both; a photo must not be.

    Raises:
        InputError: a photo is in both; it names the two files.
    """
    trained = dict(zip(train.digests, train.paths, strict=True))
    for digest, path in zip(val.digests, val.paths, strict=True):
        if digest in trained:
            raise InputError(
                f"{path}: the same photo is trained on, as {trained[digest]}; take it out of one "
                "of the folders, or what is measured is memory"
            )
    return set(train.names) & set(val.names)


def people_with_two(faces: Faces) -> int:
    """How many people there are by two different photos or more."""
    photos = np.unique(np.column_stack([faces.labels, faces.photos]), axis=0)
    return int((np.bincount(photos[:, 0]) > 1).sum())


def single_photos(faces: Faces) -> list[str]:
    """People of one picture: no positive pair, so that they serve as others only."""
    counts = np.bincount(faces.labels, minlength=len(faces.names))
    return [faces.names[n] for n in np.flatnonzero(counts == 1)]


def _read(path: str, detector: Detector) -> _Read:
    try:
        photo = load_photo(path)
    except PhotoError as error:
        return _Read(reason=error.reason)
    found = detector.detect(photo)
    return _Read(photo.sha256, found[0].crop) if found else _Read(photo.sha256, reason=NO_FACE)


def _room(shape: tuple[int, ...]) -> Pixels:
    """Room in memory, or in a file without a name that goes when the process does."""
    if int(np.prod(shape)) < _free_bytes() // 2:
        return np.empty(shape, np.uint8)
    return np.memmap(tempfile.TemporaryFile(), np.uint8, "w+", shape=shape)


def _free_bytes() -> int:
    file = Path("/proc/meminfo")
    lines = file.read_text().splitlines() if file.exists() else []
    free = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    return 1024 * free[0] if free else 4 << 30
