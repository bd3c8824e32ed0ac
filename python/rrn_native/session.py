"""ONNX Runtime sessions on the CPU that compute as the engine's do."""

from __future__ import annotations

import onnxruntime


def session_options(library: str | None = None) -> onnxruntime.SessionOptions:
    """The engine's settings: as `cpu_session`, for other execution providers."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.use_deterministic_compute = True
    options.add_session_config_entry("session.x64quantprecision", "1")
    if library is not None:
        options.register_custom_ops_library(library)
    return options


def cpu_session(model: str | bytes, library: str | None = None) -> onnxruntime.InferenceSession:
    """Opens a model with the engine's settings.

    One thread, so that sums have one order; callers run several pictures side by side. Products of 8 bits do not
    overflow, whatever the processor.

    Args:
        model: A file's name or a serialised model.
        library: ``libreduction_op.so``; None where the operator's ONNX function is to be run instead.

    Raises:
        Exception: ONNX Runtime's own errors, which have no common base.
    """
    return onnxruntime.InferenceSession(model, session_options(library), providers=["CPUExecutionProvider"])
