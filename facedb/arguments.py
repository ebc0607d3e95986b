"""What a caller asks for, checked at the door: each wrong word or range is an InputError."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import get_args

from facedb.errors import InputError
from facedb.names import is_text
from facedb.typed import typed
from facedb.types import Which

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""One file or folder, or several."""


def check_word(name: str, value: object, words: Sequence[str]) -> None:
    """InputError where a value is none of its words."""
    if value not in words:
        raise InputError(f"{name}={value!r}: it is one of {', '.join(words)}")


def check_fpir(fpir: object) -> None:
    """InputError where it is no share in (0, 1)."""
    if not (isinstance(fpir, Real) and 0.0 < float(fpir) < 1.0):
        raise InputError(f"fpir={fpir!r}: a share between 0 and 1")


def check_threshold(threshold: object) -> None:
    """InputError where it is neither None nor a distance in [0, 2]."""
    if threshold is not None and not (
        isinstance(threshold, Real) and 0.0 <= float(threshold) <= 2.0
    ):
        raise InputError(f"threshold={threshold!r}: a distance in [0, 2]")


def folder_of_people(folder: str | os.PathLike[str]) -> str:
    """The absolute path of a folder that is there; else InputError, with the way out."""
    named = as_path(folder)
    top = os.path.abspath(named)
    if not os.path.isdir(top):
        raise InputError(_no_folder(named))
    return top


def folder_of_gallery(folder: str | os.PathLike[str]) -> Path:
    """Where a gallery lies or is to lie; InputError where FAISS could not write there."""
    named = as_path(folder)
    if not is_text(named):
        raise InputError(f"{named!r}: the name of a gallery's folder must be UTF-8")
    return Path(named)


def _no_folder(path: str) -> str:
    if not os.path.exists(path):
        return f"{path}: no such folder"
    return (
        f"{path}: is a file; index takes a folder that holds a folder per person. "
        f"If it is a photo: {typed('enroll', 'NAME', path)}"
    )


def check_question(k: object, faces: object, threshold: object) -> None:
    """InputError where a question is asked in other words than these, or out of range."""
    try:
        enough = operator.index(k) >= 1  # type: ignore[arg-type]
    except TypeError:
        enough = False
    if not enough:
        raise InputError(f"k={k!r}: how many people to name, a whole number from 1")
    check_word("faces", faces, get_args(Which))
    check_threshold(threshold)


def as_paths(given: Paths) -> Iterator[str]:
    """One path or several as text; InputError where they are none."""
    if isinstance(given, str | os.PathLike):
        given = [given]
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise InputError(f"a {type(given).__name__} is no file: give paths of files or folders")
    return map(as_path, given)


def as_path(path: object) -> str:
    """A path as text; InputError where it is none."""
    found = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(found, str):
        raise InputError(f"a {type(path).__name__} is no path of a file or folder")
    return found
