"""A bundle on ONNX Runtime, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from facedb.encoder.bundle import GRAPH
from facedb.encoder.encoder import Forward
from facedb.errors import EncoderError
from facedb.types import Pixels

onnxruntime.disable_telemetry_events()


def onnx_forward(folder: Path) -> Forward:
    """What a bundle's graph computes, one thread a call: callers bring the threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session: Any = onnxruntime.InferenceSession(
            str(folder / GRAPH), options, providers=["CPUExecutionProvider"]
        )
    except (RuntimeError, ValueError) as error:
        raise EncoderError(f"{folder / GRAPH}: ONNX Runtime cannot load it: {error}") from error

    def forward(crops: Pixels) -> NDArray[np.float32]:
        embeddings: NDArray[np.float32] = session.run(None, {"crops": crops})[0]
        return embeddings

    return forward
