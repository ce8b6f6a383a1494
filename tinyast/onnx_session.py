"""ONNX Runtime: loaded at the first use of a graph, with one thread per call."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


class Named(Protocol):
    """One of a graph's inputs or outputs."""

    name: str
    shape: list[int]  # a size without a number has a name


class Notes(Protocol):
    """What a graph's file says about itself."""

    custom_metadata_map: dict[str, str]


class Session(Protocol):
    """ONNX Runtime's `InferenceSession`, which has no types, for graphs of float32."""

    def run(
        self, outputs: Sequence[str] | None, inputs: Mapping[str, Float], options: object = None
    ) -> list[Float]: ...  # outputs None: all of them

    def get_inputs(self) -> Sequence[Named]: ...

    def get_outputs(self) -> Sequence[Named]: ...

    def get_modelmeta(self) -> Notes: ...


@cache
def load_onnxruntime() -> ModuleType:
    """Import ONNX Runtime, without its telemetry, and let all sessions share their memory.

    Since 1.29 its Linux builds report sessions and hashes of models to their maker unless this
    variable is set before the library is loaded. A daemon with a microphone must not report to
    others.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    # A thread runs one graph at a time: what one needs meanwhile serves the others as well.
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg(0, -1, -1, -1))
    module: ModuleType = onnxruntime
    return module


def open_session(model: str | bytes) -> Session:
    """A session of a graph, given as a path or as bytes, which runs in the caller's thread.

    Raises one of ONNX Runtime's exceptions, which share no base but Exception.
    """
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.log_severity_level = 3
    session: Session = onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"]
    )
    return session


def run_and_give_back(session: Session, inputs: Mapping[str, Float]) -> None:
    """Run `session`; then the memory that runs of all sessions needed goes to the C library."""
    options = load_onnxruntime().RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    session.run(None, inputs, options)
