"""ONNX Runtime, one thread a call: callers bring the threads."""

from __future__ import annotations

from typing import Any, Final

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

onnxruntime.disable_telemetry_events()

FAILURES: Final = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NoModel,
    state.NoSuchFile,
    state.NotImplemented,
    state.RuntimeException,
)
"""What a model that is damaged, or is another one than it should be, raises."""


def open_session(model: str | bytes) -> Any:
    """A session on the CPU, of a file or of a model's bytes; one of FAILURES when it is bad."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def save_folded(model: str, to: str) -> None:
    """Write an ONNX file anew, constants and normalisations folded; FAILURES when it is bad."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = to
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
