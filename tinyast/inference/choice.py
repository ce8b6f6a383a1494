"""Choose between float32 and int8: by the accuracy that int8 loses, and by time on this machine.

How much faster int8 is depends on the processor, and only a measurement can tell: with instructions
that multiply bytes it takes a third less time, without them it can take more.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from msgspec import Struct

from tinyast.arrays import Float
from tinyast.errors import CheckpointError
from tinyast.inference.checkpoint import GRAPH, INT8_GRAPH, Checkpoint
from tinyast.inference.engine import Engine, load_engine
from tinyast.onnx_session import load_onnxruntime

MOST_LOST = 0.3  # points of accuracy
LEAST_GAIN = 0.05  # of float32's time; a smaller difference is within the noise
WARM_UP, WINDOWS = 4, 36  # windows through each engine, before and while it is timed
CPU_INFO = Path("/proc/cpuinfo")  # proc_cpuinfo(5)
CPU_FIELDS = ("flags", "Features", "CPU implementer", "CPU part")  # x86 and aarch64


class Conditions(Struct, frozen=True):
    """All that a timing depends on; it holds for these values alone."""

    float32: str  # SHA-256 of each graph
    int8: str
    processor: str
    onnxruntime: str  # version

    @classmethod
    def here(cls, checkpoint: Checkpoint) -> Conditions:
        """Those of `checkpoint` on this machine. Raises CheckpointError if a graph is missing."""
        return cls.of(*map(checkpoint.listed, (GRAPH, INT8_GRAPH)))

    @classmethod
    def of(cls, float32: str, int8: str) -> Conditions:
        """Those of graphs with these SHA-256 on this machine."""
        return cls(float32, int8, processor(), str(load_onnxruntime().__version__))


class Timing(Struct, frozen=True):
    """Median milliseconds of the network for one window, on one thread."""

    float32_ms: float
    int8_ms: float

    @property
    def is_valid(self) -> bool:
        return all(0 < spent < math.inf for spent in (self.float32_ms, self.int8_ms))

    @property
    def int8_is_faster(self) -> bool:
        return self.int8_ms < (1 - LEAST_GAIN) * self.float32_ms

    def __str__(self) -> str:
        return (
            f"on this machine int8 takes {self.int8_ms:.2f} ms for a window, and float32 "
            f"{self.float32_ms:.2f} ms"
        )


def objection(checkpoint: Checkpoint) -> str | None:
    """Why int8 is out of the question on any machine; None if it is not."""
    if not (checkpoint.path / INT8_GRAPH).is_file():
        return f"the checkpoint has no {INT8_GRAPH}"
    if checkpoint.head is not None:  # it was fitted to what float32 gives
        return "its taught kinds were fitted to float32, and what int8 loses there is not measured"
    lost = checkpoint.int8_points_lost
    if lost is None:
        return "the checkpoint does not say how many points int8 loses"
    if not lost <= MOST_LOST:
        return f"int8 loses {lost:g} points of accuracy, more than {MOST_LOST:g}"
    return None


def time_engines(
    checkpoint: Checkpoint, float32: Engine, go_on: Callable[[], bool]
) -> tuple[Conditions, Timing] | None:
    """Time `float32`, which is loaded, against int8, in turns and in the calling thread.

    `go_on` is asked before each window, and may wait; if it says no, the result is None. Raises
    CheckpointError if an engine cannot be loaded or run.
    """
    if not go_on():
        return None
    engines = (float32, load_engine(checkpoint, "int8"))
    settings = checkpoint.features
    shape = (1, settings.n_mels, settings.n_frames)
    picture = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(WARM_UP + WINDOWS):
        for engine, times in zip(engines, spent, strict=True):
            if not go_on():
                return None
            times.append(_milliseconds(engine, picture))
    timing = Timing(*(float(np.median(times[WARM_UP:])) for times in spent))
    return Conditions.of(*(engine.sha256 for engine in engines)), timing


def _milliseconds(engine: Engine, picture: Float) -> float:
    begun = time.perf_counter()
    try:
        engine.logits(picture)
    except Exception as error:  # ONNX Runtime's exceptions share no base but this one
        raise CheckpointError(f"the {engine.name} engine does not run: {error}") from error
    return 1e3 * (time.perf_counter() - begun)


def processor() -> str:
    """The processor's name and a digest of its abilities, such as `AMD EPYC 9B14 (1f3c9a20)`.

    A virtual machine may hide instructions from a guest, so the name alone does not do.
    """
    fields: dict[str, str] = {}
    try:
        first = CPU_INFO.read_text(errors="replace").split("\n\n")[0]
        for line in first.splitlines():
            key, _, value = line.partition(":")
            fields[key.strip()] = value.strip()
    except OSError:  # another system than Linux
        return platform.processor() or os.uname().machine
    name = fields.get("model name", platform.machine())
    abilities = "\n".join(fields.get(field, "") for field in CPU_FIELDS)
    return f"{name} ({hashlib.sha256(abilities.encode()).hexdigest()[:8]})"
