"""Exact search with torch: half-precision products and a running top-k, chunk by chunk.

Made for a GPU, where 100 million 128-d vectors take 25.6 GB; it runs on the CPU too, which is how
the tests run it everywhere. The store re-scores what it proposes, so half precision costs nothing
but a few more proposals.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from facedb.types import Embeddings

_CHUNK = 1 << 18  # templates scored at once: 1,024 probes take 1 GB of float32 scores
_PROBES = 1024
_TOLERANCE = 8e-3  # float16 rounding of 2 - 2 <p, v> between unit vectors


class TorchIndex:
    """A search cache of unit vectors in float16 on one device, never written.

    Args:
        ids: int64[n] template ids.
        vectors: float32[n, d] unit rows.
        device: "cuda" or "cpu".
    """

    def __init__(self, ids: NDArray[np.int64], vectors: Embeddings, device: str = "cuda") -> None:
        self._ids = ids
        self._vectors = torch.empty(vectors.shape, dtype=torch.float16, device=device)
        for start in range(0, len(vectors), _CHUNK):
            block = np.array(vectors[start : start + _CHUNK], dtype=np.float16)
            self._vectors[start : start + len(block)] = torch.from_numpy(block).to(device)

    @property
    def count(self) -> int:
        return len(self._ids)

    @property
    def tolerance(self) -> float:
        return _TOLERANCE

    def search(self, probes: Embeddings, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        parts = [
            self._search(probes[start : start + _PROBES], k)
            for start in range(0, len(probes), _PROBES)
        ]
        rows = np.concatenate([part[0] for part in parts])
        similarities = np.concatenate([part[1] for part in parts])
        return self._ids[rows], np.sqrt(np.maximum(2.0 - 2.0 * similarities, 0.0))

    @torch.inference_mode()
    def _search(self, probes: Embeddings, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        half = torch.from_numpy(probes.astype(np.float16)).to(self._vectors.device)
        best = torch.empty((len(half), 0), device=half.device)
        rows = torch.empty((len(half), 0), dtype=torch.int64, device=half.device)
        for start in range(0, self.count, _CHUNK):
            scores = (half @ self._vectors[start : start + _CHUNK].T).float()
            values, found = scores.topk(min(k, scores.shape[1]), dim=1)
            best = torch.cat([best, values], dim=1)
            rows = torch.cat([rows, found + start], dim=1)
            best, order = best.topk(min(k, best.shape[1]), dim=1)
            rows = rows.gather(1, order)
        return rows.cpu().numpy(), best.cpu().numpy()
