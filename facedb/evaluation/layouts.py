"""What a folder is for: who is in the gallery, who is a probe. By the names of its sub-folders."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Literal, TypeAlias

from facedb.errors import InputError
from facedb.evaluation.calibrate import strangers_in
from facedb.photos import PersonPhoto, walk_people

_logger = logging.getLogger("facedb")

Protocol: TypeAlias = Literal["gallery", "leave-one-out", "folders", "split", "lfw"]
"""gallery: against the people enrolled. leave-one-out: each photo against all others of the folder.
folders: the folder brings its own gallery. split: gallery and probes are drawn from the folder.
lfw: Labeled Faces in the Wild, as published.
"""


@dataclass(frozen=True, slots=True)
class Layout:
    """What was found in a folder.

    Attributes:
        folder: which it was.
        protocol: what its sub-folders say; "gallery" where they are people.
        gallery: photos to enroll for the evaluation, beside the user's gallery; often none.
        probes: photos to identify.
    """

    folder: str
    protocol: Protocol
    gallery: list[PersonPhoto]
    probes: list[PersonPhoto]


def layout_of(folder: str) -> Layout:
    """Understand a folder.

    `gallery/` and `probe/`, with or without `unknown/`: a folder per person in each, and in
    `unknown/` loose photos too. `train/` and `val/` (or `test/`): the same, and whoever of `val`
    is not in `train` is a stranger; when that is everybody, `val` alone is evaluated, each photo
    against the others. `images/` and `pairs.txt`: LFW. Anything else: a folder per person.

    Raises:
        InputError: there is no such folder, or it holds no photos of people.
    """
    inside = set(os.listdir(folder)) if os.path.isdir(folder) else set()
    if {"images", "pairs.txt"} <= inside:
        return Layout(folder, "lfw", [], _people(os.path.join(folder, "images")))
    if {"gallery", "probe"} <= inside:
        probes = _people(os.path.join(folder, "probe"))
        if "unknown" in inside:
            probes += _unknown(os.path.join(folder, "unknown"))
        return Layout(folder, "folders", _people(os.path.join(folder, "gallery")), probes)
    held = next((name for name in ("val", "test") if name in inside), None)
    if held is not None and "train" in inside:
        gallery = _people(os.path.join(folder, "train"))
        probes = _people(os.path.join(folder, held))
        if not {entry.identity for entry in gallery} & {entry.identity for entry in probes}:
            return Layout(folder, "leave-one-out", [], probes)
        return Layout(folder, "folders", gallery, probes)
    return Layout(folder, "gallery", [], _people(folder))


def _people(folder: str) -> list[PersonPhoto]:
    walk = walk_people(folder)
    if not walk.entries:
        raise InputError(f"{folder}: no photos here in a folder per person")
    if loose := walk.loose:
        _logger.warning("left out, in nobody's folder: %s (%d in all)", loose[0], len(loose))
    return walk.entries


def _unknown(folder: str) -> list[PersonPhoto]:
    """Strangers, by names that nobody in the gallery has."""
    return [
        PersonPhoto(os.path.join("unknown", entry.identity), entry.path)
        for entry in strangers_in(folder)
    ]
