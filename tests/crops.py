"""Folders of made-up people: pictures without faces, to be taken as crops (`--detector none`)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from photos_maker import save, scene

from facedb.identify import Settings

CROPS = Settings(detector="none", threshold=0.3)


def person(folder: Path, seed: int, photos: int = 2, side: int = 48) -> list[Path]:
    """One scene a person; its photos differ by a little light."""
    paths = []
    for number in range(photos):
        light = scene(side, side, seed).astype(np.int16) + 3 * number
        pixels = np.clip(light, 0, 255).astype(np.uint8)
        paths.append(save(folder / f"{number:04}.png", pixels))
    return paths


def people_folder(folder: Path, count: int = 6, photos: int = 2) -> Path:
    for number in range(count):
        person(folder / f"Person {number}", seed=number, photos=photos)
    return folder


def close_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let nobody list a folder, not even root; its path."""
    closed, scan = str(folder), os.scandir

    def refuse(path: str) -> object:
        if os.fspath(path) == closed:
            raise PermissionError(13, "Permission denied", closed)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return closed
