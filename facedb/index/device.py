"""Which processor searches: the one place that turns `--device` into an index."""

from __future__ import annotations

import logging

from facedb.device import Device, gpu_present
from facedb.errors import DependencyMissing
from facedb.index.base import SearchIndex
from facedb.index.faiss import FaissGpuIndex, FaissIndex, gpu_count

_logger = logging.getLogger("facedb")


def search_cache(index: FaissIndex, device: Device) -> SearchIndex:
    """What searches for `index`: itself on the CPU, a clone on a GPU.

    Raises:
        DependencyMissing: device is "cuda" and nothing installed here can use a GPU.
    """
    if device == "cpu" or (device == "auto" and not gpu_present()):
        return index
    cache = _on_gpu(index)
    if cache is None and device == "cuda":
        raise DependencyMissing(
            "--device cuda: no GPU that FAISS or torch can use; from a clone, in an environment "
            "without faiss-cpu: pip install '.[gpu]', or leave the option out"
        )
    if cache is None:
        _logger.warning("a GPU is here but neither FAISS nor torch can use it: searching on CPU")
        return index
    return cache


def _on_gpu(index: FaissIndex) -> SearchIndex | None:
    if gpu_count() > 0:
        return FaissGpuIndex(index)
    rows = index.flat_rows()
    try:
        import torch
    except ImportError:
        return None
    if rows is None or not torch.cuda.is_available():
        return None
    from facedb.index.torch import TorchIndex

    return TorchIndex(index.all_ids(), rows)
