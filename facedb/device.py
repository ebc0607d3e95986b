"""What `--device` may say, and whether there is a GPU to speak of."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

Device: TypeAlias = Literal["auto", "cpu", "cuda"]


def gpu_present() -> bool:
    """Whether this machine has an NVIDIA driver, found without loading anything."""
    return Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()
