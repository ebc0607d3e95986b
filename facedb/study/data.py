"""CIFAR-10 from disk: torchvision's pickles, folders of pictures, or an archive of such folders.

    torchvision    <data>/cifar-10-batches-py/data_batch_1 .. 5, test_batch
    folders        <data>/train/<class>/*.jpg, <data>/test/<class>/*.jpg   (also .png)
    archive        <data>.tar.xz (.tar, .tar.gz) of such folders, read without being unpacked

What was decoded once is kept as one .npz, so that the second start is instant.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import pickle
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from facedb.errors import InputError

NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SIDE = 32
EACH = {"train": 5000, "test": 1000}
TORCHVISION = "cifar-10-batches-py"
BATCHES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
SUFFIXES = {".jpg", ".jpeg", ".png"}
ARCHIVES = (".tar", ".tar.xz", ".tar.gz")
HOW_TO_GET = (
    "give --data the folder above train/ and test/ or its .tar.xz, or the folder above "
    f"{TORCHVISION}/, which --download fetches"
)

Encoded: TypeAlias = tuple[str, str, str, bytes]  # part, class, file name, encoded picture


@dataclass(frozen=True)
class Part:
    """Pictures uint8[n, 3, 32, 32] RGB and labels int64[n], indices into NAMES."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def balanced(self, count: int, seed: int = 0) -> Part:
        """The same number of each class, `count` in all, drawn by the seed."""
        if count >= len(self.labels):
            return self
        mixed = np.random.default_rng(seed).permutation(len(self.labels))
        chosen = [mixed[self.labels[mixed] == label][: count // len(NAMES)] for label in range(10)]
        order = np.sort(np.concatenate(chosen))
        return Part(self.images[order], self.labels[order])

    def shuffled(self, seed: int = 0) -> Part:
        """The same pictures in an order drawn by the seed: on disk they lie class by class."""
        order = np.random.default_rng(seed).permutation(len(self.labels))
        return Part(self.images[order], self.labels[order])


@dataclass(frozen=True)
class Cifar10:
    """The two parts, and how the pictures were stored ("lossless" or "JPEG")."""

    train: Part
    test: Part
    storage: str


def load(source: Path, cache: Path, partial: bool = False) -> Cifar10:
    """Read CIFAR-10 from any of the three layouts.

    Args:
        source: a folder or an archive.
        cache: a folder for the decoded pictures; made when it is missing.
        partial: take what there is, as long as no class is empty.

    Raises:
        InputError: nothing there, something missing, or a picture that is not one.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; {HOW_TO_GET}")
    file = cache / f"{_fingerprint(source)}.npz"
    found = _cached(file)
    if found is None:
        found = _read(source)
        cache.mkdir(parents=True, exist_ok=True)
        _write(found, file)
    for name, part in (("train", found.train), ("test", found.test)):
        _check(source, name, part, partial)
    return found


def _read(source: Path) -> Cifar10:
    if (source / TORCHVISION).is_dir():
        parts = {name: _batches(source / TORCHVISION, name) for name in EACH}
        return Cifar10(parts["train"], parts["test"], "lossless")
    if source.is_dir():
        return _pictures(source, _files(source))
    if source.name.endswith(ARCHIVES):
        return _pictures(source, _members(source))
    raise InputError(f"{source}: neither a folder nor a tar archive; {HOW_TO_GET}")


def _check(source: Path, name: str, part: Part, partial: bool) -> None:
    counts = np.bincount(part.labels, minlength=len(NAMES))
    wanted = 1 if partial else EACH[name]
    missing = [
        f"{class_name} has {count:,} of {EACH[name]:,}"
        for class_name, count in zip(NAMES, counts, strict=True)
        if count < wanted
    ]
    if missing:
        also = "" if partial else ", or --partial to take what there is"
        raise InputError(f"{source}: {name}: {'; '.join(missing)}; {HOW_TO_GET}{also}")


def _files(source: Path) -> Iterator[Encoded]:
    for part in EACH:
        for name in NAMES:
            for file in sorted((source / part / name).glob("*")):
                if file.suffix.lower() in SUFFIXES:
                    yield part, name, file.name, file.read_bytes()


def _members(source: Path) -> Iterator[Encoded]:
    try:
        with tarfile.open(source, "r|*") as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                if not member.isfile() or path.suffix.lower() not in SUFFIXES:
                    continue
                part, name = path.parts[-3:-1] if len(path.parts) > 2 else ("", "")
                content = archive.extractfile(member)
                if part in EACH and name in NAMES and content is not None:
                    yield part, name, path.name, content.read()
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise InputError(f"{source}: torn archive ({error}); {HOW_TO_GET}") from error


def _pictures(source: Path, encoded: Iterator[Encoded]) -> Cifar10:
    found: dict[str, list[tuple[int, str, NDArray[np.uint8]]]] = {part: [] for part in EACH}
    storage = "lossless"
    for part, name, file, content in encoded:
        pixels = _decode(f"{source}: {part}/{name}/{file}", content)
        found[part].append((NAMES.index(name), file, pixels))
        storage = "JPEG" if not file.endswith(".png") else storage
    parts = {part: _stack(rows) for part, rows in found.items()}
    return Cifar10(parts["train"], parts["test"], storage)


def _decode(place: str, content: bytes) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise InputError(f"{place}: not a picture ({error}); {HOW_TO_GET}") from error
    if pixels.shape != (SIDE, SIDE, 3):
        raise InputError(f"{place}: {pixels.shape[1]}x{pixels.shape[0]} pixels, not 32x32")
    return pixels.transpose(2, 0, 1)


def _stack(rows: list[tuple[int, str, NDArray[np.uint8]]]) -> Part:
    rows.sort(key=lambda row: row[:2])
    images = np.zeros((len(rows), 3, SIDE, SIDE), np.uint8)
    for image, (_, _, pixels) in zip(images, rows, strict=True):
        image[:] = pixels
    return Part(images, np.array([label for label, _, _ in rows], np.int64))


class _ArraysOnly(pickle.Unpickler):
    """Reads the arrays of CIFAR-10's pickles, and refuses whatever else a pickle could run."""

    _ALLOWED = {  # noqa: RUF012
        "_reconstruct": np.zeros(0).__reduce__()[0],
        "ndarray": np.ndarray,
        "dtype": np.dtype,
        "encode": lambda text, name: text.encode(name),
    }

    def find_class(self, module: str, name: str) -> Any:
        if name not in self._ALLOWED or module.split(".")[0] not in ("numpy", "_codecs"):
            raise pickle.UnpicklingError(f"asks for {module}.{name}")
        return self._ALLOWED[name]


def _batches(folder: Path, part: str) -> Part:
    missing = [name for name in BATCHES[part] if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder}: {', '.join(missing)} missing; {HOW_TO_GET}")
    read = [_batch(folder / name) for name in BATCHES[part]]
    return Part(
        np.concatenate([one.images for one in read]), np.concatenate([one.labels for one in read])
    )


def _batch(file: Path) -> Part:
    try:
        with file.open("rb") as stream:
            batch = _ArraysOnly(stream, encoding="bytes").load()
        images = np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, SIDE, SIDE)
        return Part(images, np.asarray(batch[b"labels"], np.int64))
    except (pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
        raise InputError(f"{file}: not a batch of CIFAR-10 ({error}); {HOW_TO_GET}") from error


def _fingerprint(source: Path) -> str:
    """Changes when the archive, a class folder or a batch does."""
    places = [source, *sorted(source.glob("t*/*")), *sorted(source.glob(f"{TORCHVISION}/*"))]
    facts = [(str(place.resolve()), place.stat()) for place in places]
    text = "\n".join(f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in facts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _cached(file: Path) -> Cifar10 | None:
    try:
        with np.load(file) as kept:
            train = Part(kept["train_images"], kept["train_labels"])
            return Cifar10(
                train, Part(kept["test_images"], kept["test_labels"]), str(kept["storage"])
            )
    except (FileNotFoundError, BadZipFile, KeyError, ValueError, EOFError):
        return None


def _write(found: Cifar10, file: Path) -> None:
    unfinished = file.with_suffix(f".{os.getpid()}.tmp")
    with unfinished.open("wb") as stream:
        np.savez(
            stream,
            train_images=found.train.images,
            train_labels=found.train.labels,
            test_images=found.test.images,
            test_labels=found.test.labels,
            storage=np.array(found.storage),
        )
    unfinished.replace(file)
