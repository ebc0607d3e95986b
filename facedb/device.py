"""What `--device` may say, and what the machine has, found without loading anything."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

Device: TypeAlias = Literal["auto", "cpu", "cuda"]


def gpu_present() -> bool:
    """Whether this machine has an NVIDIA driver."""
    return Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


@cache
def cpu_multiplies_bfloat16() -> bool:
    """Whether the processor has units for it: Intel's AMX, or AVX-512's, which AMD has too."""
    file = Path("/proc/cpuinfo")
    return file.exists() and not {"amx_bf16", "avx512_bf16"}.isdisjoint(file.read_text().split())
