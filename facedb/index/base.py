"""What an index must do for a gallery."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from facedb.types import Embeddings

IndexKind: TypeAlias = Literal["flat", "ivf"]


class SearchIndex(Protocol):
    """Something that finds templates near a probe.

    Attributes:
        count: how many templates it holds.
        tolerance: the largest error of a squared distance that `search` returns; a template that
            was left out may be nearer than the last one returned by at most this much.
    """

    @property
    def count(self) -> int: ...

    @property
    def tolerance(self) -> float: ...

    def search(self, probes: Embeddings, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k nearest templates of each probe.

        Args:
            probes: float32[m, d], unit rows.
            k: 1 or more; at most `count`.

        Returns:
            int64[m, k] template ids, nearest first, -1 where fewer were found; and float32[m, k]
            distances in [0, 2], near enough for ranking, infinite where the id is -1.
        """
        ...
