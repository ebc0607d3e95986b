"""Makes the photographs that tests read: one small scene in many formats, and the bad files."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facedb.photos import reasons

Pixels = NDArray[np.uint8]
ORIENTATION = 0x0112


def scene(width: int = 96, height: int = 64, seed: int = 0) -> Pixels:
    """A smooth picture without any symmetry, uint8[height, width, 3]; another for each seed."""
    down, across = np.mgrid[0:height, 0:width].astype(np.float64)
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    channels = [
        0.8 * across / width + 0.1 * (1 + np.sin(phase[0])),
        0.8 * down / height + 0.1 * (1 + np.sin(phase[1])),
        0.5 + 0.4 * np.sin(phase[2] + 4 * across / width + 2 * down / height),
    ]
    return np.clip(255 * np.stack(channels, axis=2), 0, 255).astype(np.uint8)


def save(path: Path, pixels: Pixels | None = None, orientation: int = 0, **options: Any) -> Path:
    """Write pixels (the default scene) in the format of the suffix; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if orientation:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        options["exif"] = exif
    Image.fromarray(scene() if pixels is None else pixels).save(path, **options)
    return path


def encoded(kind: str, pixels: Pixels | None = None, **options: Any) -> bytes:
    """The bytes of a file in one of Pillow's formats ("JPEG", "PNG", ...)."""
    buffer = io.BytesIO()
    Image.fromarray(scene() if pixels is None else pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def stored_for(upright: Pixels, orientation: int) -> Pixels:
    """How a camera stores an upright picture under an EXIF orientation (Exif 2.32, 4.6.4 A)."""
    row_0_is_top, transposed = upright, upright.transpose(1, 0, 2)
    turned = {
        1: row_0_is_top,
        2: row_0_is_top[:, ::-1],
        3: row_0_is_top[::-1, ::-1],
        4: row_0_is_top[::-1],
        5: transposed,
        6: transposed[::-1],
        7: transposed[::-1, ::-1],
        8: transposed[:, ::-1],
    }
    return np.ascontiguousarray(turned[orientation])


def bomb(side: int = 60_000) -> bytes:
    """A PNG of 120 bytes that says it is so many pixels wide and high."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def heic_stub() -> bytes:
    """The first box of a HEIC file and nothing else: enough to be known as one."""
    return struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic") + bytes(200)


def bad_files(folder: Path) -> dict[Path, str]:
    """Write one file of each bad kind that needs no special rights; file -> reason expected."""
    folder.mkdir(parents=True, exist_ok=True)
    noisy = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    contents = {
        "empty.jpg": (b"", reasons.EMPTY),
        "text.jpg": (b"this is no picture\n" * 20, reasons.NOT_AN_IMAGE),
        "page.png": (b"<!DOCTYPE html><html></html>", reasons.NOT_AN_IMAGE),
        "zeros.jpg": (bytes(5000), reasons.NOT_AN_IMAGE),
        "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n", reasons.NOT_AN_IMAGE),
        "bomb.png": (bomb(), reasons.BOMB),
        "tiny.png": (encoded("PNG", scene(96, 15)), reasons.TOO_SMALL),
        "head_only.jpg": (b"\xff\xd8\xff\xe0" + bytes(30), reasons.DAMAGED),
    }
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"):
        whole = encoded(kind, noisy)
        contents[f"cut.{kind.lower()}"] = (whole[: len(whole) // 2], reasons.DAMAGED)
    for name, (data, _) in contents.items():
        (folder / name).write_bytes(data)
    loop = folder / "loop.jpg"
    os.symlink("loop.jpg", loop)
    dangling = folder / "dangling.jpg"
    os.symlink("nowhere.jpg", dangling)
    written = {folder / name: reason for name, (_, reason) in contents.items()}
    return written | {loop: reasons.SYMLINK_LOOP, dangling: reasons.MISSING}
