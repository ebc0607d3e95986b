"""The state of a run on disk: whole or not there, and only for the run that it belongs to."""

from __future__ import annotations

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import torch

from facedb.errors import InputError


def save(file: Path, state: dict[str, Any]) -> None:
    """Write beside it, sync, rename: a kill leaves the old state or the new one."""
    part = file.with_suffix(".part")
    with part.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)


def load(file: Path, belongs: dict[str, Any]) -> dict[str, Any] | None:
    """The state in a file, or None where there is none.

    Args:
        file: what `save` wrote.
        belongs: what its run must have been begun with: name -> value.

    Raises:
        InputError: it is damaged, or another run's; it names what differs.
    """
    if not file.exists():
        return None
    try:
        if not is_zipfile(file):  # what torch writes; it trips over anything else
            raise EOFError
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        begun = state["belongs"]
    except (RuntimeError, EOFError, KeyError, TypeError, OSError, UnpicklingError) as error:
        raise InputError(
            f"{file}: damaged, or no checkpoint of facedb; delete it to begin anew"
        ) from error
    differ = [
        f"{name} was {begun.get(name)!r}, is {value!r}"
        for name, value in belongs.items()
        if begun.get(name) != value
    ]
    if differ:
        raise InputError(
            f"{file}: of another run ({'; '.join(differ)}); go on with the same options, or name "
            "another folder: --out"
        )
    return state
