"""The least time that each stage could take on this machine, and its actual time relative to it.

The same run measures two peaks: how fast one core multiplies matrices in float32, and how fast it
reads memory. A stage's floor is the time for its work at that peak:

decode     the bytes of the file, read once, and of its samples, written once
resample   the multiply-adds of the same filter in polyphase form, zeros left out
features   2.5 n log2 n operations for each real FFT (Frigo and Johnson 2005, "The Design and
           Implementation of FFTW3"), and the multiply-adds of the filterbank's non-zero entries
model      the multiply-adds of its graph
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from scripts.benchmark.figures import Figure
from scripts.benchmark.served import Bed
from scripts.benchmark.sound import RATE, SECONDS
from tinyast.audio.resampling import fitted
from tinyast.features.log_mel import FeatureSettings, mel_filterbank
from tinyast.inference.checkpoint import GRAPH, read_checkpoint

SIZE = 384  # rows of the matrices for the peak: they fit into the second-level cache
BYTES = 1 << 27  # read to measure memory bandwidth: more than any cache holds
TRIES = 40


def gflops() -> float:
    """The peak of one core in a float32 matrix product, in 1e9 operations a second."""
    chance = np.random.default_rng(0)
    left, right = chance.standard_normal((2, SIZE, SIZE)).astype(np.float32)
    out = np.empty_like(left)
    return 2 * SIZE**3 / _best(lambda: np.matmul(left, right, out=out), TRIES) / 1e9


def gigabytes() -> float:
    """The peak of one core when it reads memory, in 1e9 bytes a second."""
    there = np.ones(BYTES // 8, dtype=np.int64)
    return BYTES / _best(there.max, TRIES // 8) / 1e9


def _best(step: Callable[[], Any], tries: int) -> float:
    took = []
    for _ in range(tries):
        begin = time.perf_counter()
        step()
        took.append(time.perf_counter() - begin)
    return min(took)


def resampling(settings: FeatureSettings) -> float:
    """Multiply-adds of one window."""
    resampler = fitted(RATE, settings.sampling_rate)
    taps = sum(np.count_nonzero(matrix) for matrix in resampler.matrices) / resampler.up
    return float(taps * settings.n_samples)


def transforming(settings: FeatureSettings) -> float:
    """Operations of one picture."""
    frames, length = settings.n_hops * settings.pool, settings.n_fft
    filters = np.count_nonzero(mel_filterbank(settings)) * settings.n_hops
    return float(frames * 2.5 * length * math.log2(length) + 2 * filters)


def multiply_adds(path: str) -> int:
    """Multiply-adds of an ONNX graph for one picture. Raises ModuleNotFoundError without onnx."""
    import onnx

    model = onnx.shape_inference.infer_shapes(_for_one(onnx.load(path)))
    known = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    shapes = {
        value.name: [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        for value in known
    }
    shapes |= {value.name: list(value.dims) for value in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        out = math.prod(shapes.get(node.output[0], [0]))
        if node.op_type == "Conv":  # weights: (out, in / groups, rows, columns)
            total += out * math.prod(shapes[node.input[1]][1:])
        elif node.op_type in ("MatMul", "Gemm"):
            transposed = any(a.name == "transA" and a.i for a in node.attribute)
            total += out * shapes[node.input[0]][-2 if transposed else -1]
    return total


def _for_one(model: Any) -> Any:
    """The graph with a batch of one picture."""
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return model


def measure(bed: Bed, stages: list[Figure]) -> list[Figure]:
    """Peaks, floors, and the ratio of each of `stages` to its floor."""
    peak, memory = gflops(), gigabytes()
    checkpoint = read_checkpoint(bed.checkpoint)
    settings = checkpoint.features
    moved = RATE * SECONDS * (2 + 4)
    work = {
        "decode": (moved / memory / 1e6, f"{moved / 1e6:.1f} MB"),
        "resample": _at(peak, 2 * resampling(settings)),
        "features": _at(peak, transforming(settings)),
    }
    figures = [
        Figure("peak, float32 matrix product", "GF/s", (peak,), f"{SIZE} x {SIZE}, one core"),
        Figure("peak, reading memory", "GB/s", (memory,), "one core"),
    ]
    try:
        work["model"] = _at(peak, 2 * multiply_adds(str(checkpoint.file(GRAPH))))
    except ModuleNotFoundError as error:
        note = f"missing {error.name}: pip install -e '.[train]'"
        figures.append(Figure("floor, model", "ms", note=note))
    for name, (floor, what) in work.items():
        figures.append(Figure(f"floor, {name}", "ms", (floor,), what))
        stage = next((figure for figure in stages if figure.name == name), None)
        if stage is not None:
            times = tuple(value / floor for value in stage.values)
            figures.append(Figure(f"{name} over its floor", "x", times))
    return figures


def _at(peak: float, operations: float) -> tuple[float, str]:
    """Milliseconds for these operations at that peak, and a description of them."""
    return operations / peak / 1e6, f"{operations / 2e6:.1f} M multiply-adds"
