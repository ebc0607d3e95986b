"""A bundle on ONNX Runtime, on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facedb.encoder.bundle import GRAPH
from facedb.encoder.encoder import Forward
from facedb.errors import EncoderError
from facedb.runtime import FAILURES, open_session
from facedb.types import Pixels


def onnx_forward(folder: Path) -> Forward:
    """What a bundle's graph computes, one thread a call."""
    try:
        session = open_session(str(folder / GRAPH))
    except FAILURES as error:
        raise EncoderError(f"{folder / GRAPH}: ONNX Runtime cannot load it: {error}") from error

    def forward(crops: Pixels) -> NDArray[np.float32]:
        embeddings: NDArray[np.float32] = session.run(None, {"crops": crops})[0]
        return embeddings

    return forward
