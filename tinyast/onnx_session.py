"""ONNX Runtime: loaded at the first use of a graph, with one thread per call."""

from __future__ import annotations

import os
from typing import Any


def load_onnxruntime() -> Any:
    """Import ONNX Runtime, without its telemetry.

    Since 1.29 its Linux builds report sessions and hashes of models to their maker unless this
    variable is set before the library is loaded. A daemon with a microphone must not report to
    others.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


def open_session(model: str | bytes) -> Any:
    """A session of a graph, given as a path or as bytes, which runs in the caller's thread.

    Raises one of ONNX Runtime's exceptions, which share no base but Exception.
    """
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
