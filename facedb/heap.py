"""Memory that is freed, kept for the next step of a training."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Tell glibc's malloc to give nothing back before the process ends; elsewhere do nothing.

    Feature maps of tens of megabytes come and go in every step. By default each goes back to the
    system at once, and comes again as pages that are to be mapped and zeroed, which takes longer
    than what is computed on them.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # Windows, macOS
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, -1)
    mallopt(_TOP_PAD, 64 << 20)
