"""The features as an ONNX graph: from a window's samples to its picture in one call.

The same steps as `tinyast.audio.resampling` and `tinyast.features.log_mel`; tests compare the two.
In numpy a window takes some fifty calls. Each releases Python's lock and must win it back from the
other threads, so two workers would keep each other waiting.

The discrete Fourier transform is taken in two steps of matrix products (Cooley and Tukey 1965):
of n = columns * a + b samples, first over a, then over b, a matrix for each remainder of the
frequency. Mel filters are applied to power in the resulting order, to that of low and of high
frequencies by themselves, since few bands have both. Frames are the last axis throughout, so that
every product is of a small matrix with a long one.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import onnx

from tinyast.arrays import Float
from tinyast.audio.resampling import Polyphase, fitted
from tinyast.data.atomic import replacing
from tinyast.export.onnx_writer import GraphWriter
from tinyast.features import audioset, columns
from tinyast.features.graph import SETTINGS, graph_name, graph_rates, input_name
from tinyast.features.log_mel import FeatureSettings, mel_filterbank, window_of


def write_feature_graphs(settings: FeatureSettings, folder: Path) -> None:
    """Write to `folder` a graph for each rate that `graph_rates` lists."""
    for rate in graph_rates(settings):
        with replacing(folder / graph_name(rate)) as part:
            onnx.save(feature_graph(settings, rate), part)


def feature_graph(settings: FeatureSettings, rate: int) -> onnx.ModelProto:
    """A graph from `samples` of one window at `rate` Hz to its picture and the samples' energy.

    `rate` is the model's, or one that `tinyast.audio.resampling` is fitted to. Then each matrix of
    the resampler has an input (`input_name`), for overlapping parts of the window behind zeros:
    to cut them out here would copy the window twice more. The graph carries the settings that it
    was made for.
    """
    graph = GraphWriter()
    heard, inputs = "samples", {"samples": (settings.n_samples,)}
    if rate != settings.sampling_rate:
        how = fitted(rate, settings.sampling_rate)
        heard = _resampled(graph, how, settings.n_samples)
        taken = how.blocks(settings.n_samples) * how.down
        inputs = {input_name(start): (taken,) for start in how.starts}
    energy = graph.add("ReduceSumSquare", heard, keepdims=0)
    power = _mel_power(graph, heard, settings)
    if settings.columns:
        power = _shared_out(graph, power, settings)
    if settings.scale == "audioset":
        picture = _as_for_audioset(graph, power)
    else:
        picture = _normalised(graph, power, settings.top_db)
    shape = settings.n_mels, settings.n_frames
    return graph.model(
        "features",
        inputs,
        {picture: shape, energy: ()},
        {SETTINGS: json.dumps(settings.to_dict())},
    )


# -- resampling, as `Polyphase` does -------------------------------------------------------------


def _resampled(graph: GraphWriter, how: Polyphase, wanted: int) -> str:
    """The window at the lower rate, (wanted,)."""
    blocks = how.blocks(wanted)
    outputs = []
    for start, matrix in zip(how.starts, how.matrices, strict=True):
        rows = graph.shaped(input_name(start), blocks, how.down)
        given = graph.cut(rows, 1, 0, len(matrix))
        outputs.append(graph.add("MatMul", given, graph.constant(matrix)))
    joined = graph.add("Concat", *outputs, axis=1)
    return _padded(graph, graph.shaped(joined, -1), blocks * how.up, 0, wanted)


# -- mel power, as `mel_power` does --------------------------------------------------------------


def _mel_power(graph: GraphWriter, heard: str, settings: FeatureSettings) -> str:
    """Of samples at the model's rate, (n_samples,): (n_mels, n_hops)."""
    frames = settings.n_hops * settings.pool
    rows, columns = _factors(settings.n_fft)
    step = _step_over_hops if settings.hop_length % columns == 0 else _step_over_frames
    halfway = step(graph, heard, settings, rows, columns)
    order = sorted(range(columns), key=lambda multiple: min(multiple, columns - 1 - multiple))
    real, imaginary = (
        graph.add("MatMul", graph.constant(matrices[:, order]), halfway)
        for matrices in _second_step(rows, columns)
    )
    power = graph.add(
        "Add", graph.add("Mul", real, real), graph.add("Mul", imaginary, imaginary)
    )  # (remainders, multiples, frames), low frequencies first
    filters = _scattered_filters(rows, columns, settings)[:, order]
    mel = _filtered(graph, power, filters, frames)
    if settings.pool > 1:
        mel = graph.shaped(mel, settings.n_mels, settings.n_hops, settings.pool)
        mel = graph.add("ReduceMean", mel, graph.constant([2], "int64"), keepdims=0)
    return mel


def _filtered(graph: GraphWriter, power: str, filters: Float, frames: int) -> str:
    """Of power, (remainders, multiples, frames): (n_mels, frames).

    The two halves of the multiples separately, each with the bands that have something of it.
    """
    _, multiples, n_mels = filters.shape
    half, parts = (multiples + 1) // 2, []
    for start, end in ((0, half), (half, multiples)):
        dense = filters[:, start:end].reshape(-1, n_mels).T
        bands = np.flatnonzero(dense.any(axis=1))
        if not len(bands):
            continue
        first, last = int(bands[0]), int(bands[-1]) + 1
        given = graph.shaped(graph.cut(power, 1, start, end), -1, frames)
        mel = graph.add("MatMul", graph.constant(dense[first:last]), given)
        around = graph.constant((first, 0, n_mels - last, 0), "int64")
        parts.append(graph.add("Pad", mel, around))
    return graph.add("Sum", *parts)


def _step_over_hops(
    graph: GraphWriter, heard: str, settings: FeatureSettings, rows: int, columns: int
) -> str:
    """The first step, (remainders, columns * 2, frames), where a hop is a number of whole rows.

    Then frames, their window and the sums over rows are one convolution of each column, and
    zeros at the window's ends cost no time.
    """
    frames, stride = settings.n_hops * settings.pool, settings.hop_length // columns
    window = window_of(settings)
    heard_at = np.flatnonzero(window)
    first, end = int(heard_at[0]), int(heard_at[-1]) + 1
    taken = math.ceil((end - first) / columns)  # rows; the shift changes no power
    window = np.pad(window[first:end], (0, taken * columns - (end - first)))
    waves = _first_step(rows)[:, None, :taken] * window.reshape(taken, columns).T
    filters = waves.transpose(1, 0, 2).reshape(-1, 1, taken)
    whole = (frames - 1) * stride + taken
    before = settings.padding[0] - first
    cut = max(0, -before)
    if cut:
        heard = graph.cut(heard, 0, cut, settings.n_samples)
    padded = _padded(graph, heard, settings.n_samples - cut, before + cut, whole * columns)
    by_column = graph.add("Transpose", graph.shaped(padded, 1, whole, columns), perm=(0, 2, 1))
    sums = graph.add(
        "Conv", by_column, graph.constant(filters), group=columns, strides=[stride]
    )  # (1, columns * 2 * remainders, frames)
    sums = graph.shaped(sums, columns * 2, -1, frames)
    # ONNX Runtime's matrix product reads it in this order, without a copy.
    return graph.add("Transpose", sums, perm=(1, 0, 2))


def _step_over_frames(
    graph: GraphWriter, heard: str, settings: FeatureSettings, rows: int, columns: int
) -> str:
    """The first step, (remainders, columns * 2, frames), for any hop."""
    frames = settings.n_hops * settings.pool
    framed = _framed(graph, heard, frames, settings)
    framed = graph.add("Mul", framed, graph.constant(window_of(settings)))
    framed = graph.shaped(framed, frames, rows, columns)
    sums = graph.add("MatMul", graph.constant(_first_step(rows)), framed)
    sums = graph.shaped(sums, frames, 2, -1, columns)
    sums = graph.add("Transpose", sums, perm=(2, 3, 1, 0))
    return graph.shaped(sums, -1, columns * 2, frames)


def _framed(graph: GraphWriter, heard: str, frames: int, settings: FeatureSettings) -> str:
    """Overlapping frames, (frames, n_fft): each begins in a row of a hop and continues below."""
    hop, size = settings.hop_length, settings.n_fft
    spanned = math.ceil(size / hop)
    rows = frames + spanned - 1
    padded = _padded(graph, heard, settings.n_samples, settings.padding[0], rows * hop)
    padded = graph.shaped(padded, rows, hop)
    parts = []
    for number in range(spanned):
        part, width = graph.cut(padded, 0, number, number + frames), size - number * hop
        parts.append(part if width >= hop else graph.cut(part, 1, 0, width))
    return graph.add("Concat", *parts, axis=1)


def _padded(graph: GraphWriter, samples: str, length: int, before: int, whole: int) -> str:
    """`samples`, (length,), behind `before` zeros and with as many after as make it (whole,)."""
    after = max(0, whole - before - length)
    if before or after:
        samples = graph.add("Pad", samples, graph.constant((before, after), "int64"))
    return samples if before + length <= whole else graph.cut(samples, 0, 0, whole)


def _factors(size: int) -> tuple[int, int]:
    """Two factors of `size` as near to each other as there are, the larger first."""
    small = next(n for n in range(math.isqrt(size), 0, -1) if size % n == 0)
    return size // small, small


def _first_step(rows: int) -> Float:
    """Waves over `rows`, real above imaginary: (2 * remainders, rows).

    Frequencies are k = remainder + rows * multiple; those of other remainders mirror these.
    """
    waves = np.exp(-2j * np.pi / rows * np.outer(np.arange(rows // 2 + 1), np.arange(rows)))
    return np.concatenate([waves.real, waves.imag]).astype(np.float32)


def _second_step(rows: int, columns: int) -> tuple[Float, Float]:
    """What makes the real and the imaginary parts, each (remainders, multiples, columns * 2).

    The last axis alternates between what the real and the imaginary part of a column contribute.
    """
    remainder = np.arange(rows // 2 + 1)[:, None, None]
    multiple, given = np.arange(columns)[None, :, None], np.arange(columns)[None, None, :]
    turns = given * remainder / (rows * columns) + given * multiple / columns
    waves = np.exp(-2j * np.pi * turns)
    real = np.stack([waves.real, -waves.imag], axis=3)
    imaginary = np.stack([waves.imag, waves.real], axis=3)
    shape = len(waves), columns, 2 * columns
    return real.reshape(shape).astype(np.float32), imaginary.reshape(shape).astype(np.float32)


def _scattered_filters(rows: int, columns: int, settings: FeatureSettings) -> Float:
    """The mel filterbank as (remainders, multiples, n_mels), each frequency in one of its places.

    The power at a frequency over half the rate is that of its mirror image.
    """
    filters = mel_filterbank(settings)
    scattered = np.zeros((rows // 2 + 1, columns, settings.n_mels), np.float32)
    for frequency in range(settings.n_fft // 2 + 1):
        place = frequency if frequency % rows <= rows // 2 else settings.n_fft - frequency
        scattered[place % rows, place // rows] = filters[:, frequency]
    return scattered


# -- columns of unequal width, as `equal_shares` makes them --------------------------------------


def _shared_out(graph: GraphWriter, power: str, settings: FeatureSettings) -> str:
    """Of mel power, (n_mels, n_hops): (n_mels, columns)."""
    frames = settings.n_hops
    down = graph.constant([0], "int64")
    loudness = graph.add("ReduceMean", power, down, keepdims=0)
    peak = graph.add("ReduceMax", loudness, keepdims=1)
    loudness = graph.add("Div", loudness, graph.add("Max", peak, graph.constant(columns.QUIET)))
    raised = graph.add("Add", loudness, graph.constant(columns.LEAST))
    share = graph.add("Pow", raised, graph.constant(columns.EXPONENT))
    share = graph.add("Div", share, graph.add("ReduceSum", share, keepdims=1))
    share = graph.add("Mul", share, graph.constant(1 - columns.EVEN))
    share = graph.add("Add", share, graph.constant(columns.EVEN / frames))
    ends = graph.add("CumSum", share, graph.constant(0, "int64"))
    ends = graph.add("Div", ends, graph.cut(ends, 0, frames - 1, frames))
    starts = graph.add("Concat", graph.constant([0]), graph.cut(ends, 0, 0, frames - 1), axis=0)
    edges = np.linspace(0, 1, settings.columns + 1, dtype=np.float32)
    until = graph.add("Min", graph.shaped(ends, -1, 1), graph.constant(edges[1:]))
    since = graph.add("Max", graph.shaped(starts, -1, 1), graph.constant(edges[:-1]))
    overlap = graph.add("Max", graph.add("Sub", until, since), graph.constant(0))
    total = graph.add("ReduceSum", overlap, down, keepdims=1)
    total = graph.add("Max", total, graph.constant(columns.QUIET))
    return graph.add("MatMul", power, graph.add("Div", overlap, total))


# -- the picture, as `audioset.normalise` makes it -----------------------------------------------


def _as_for_audioset(graph: GraphWriter, power: str) -> str:
    """Of mel power, (n_mels, n_frames): the picture, of the same shape."""
    peak = graph.add("ReduceMax", power, keepdims=1)
    peak = graph.add("Max", peak, graph.constant(audioset.QUIET))
    scaled = graph.add("Mul", power, graph.add("Div", graph.constant(audioset.PEAK), peak))
    shown = graph.add("Log", graph.add("Add", scaled, graph.constant(audioset.LEAST)))
    shown = graph.add("Add", shown, graph.constant(audioset.MEAN))
    return graph.add("Div", shown, graph.constant(audioset.SCALE))


# -- the picture, as `normalise` makes it --------------------------------------------------------


def _normalised(graph: GraphWriter, power: str, top_db: float) -> str:
    """Of mel power, (n_mels, n_frames), in decibels: the picture, of the same shape.

    Logarithms are of how far a cell is over the floor, so that it is exactly 0: the mean and
    scale of earlier values make no difference to the picture.
    """
    peak = graph.add("ReduceMax", power, keepdims=1)
    peak = graph.add("Max", peak, graph.constant(np.finfo(np.float32).tiny))
    relative = graph.add("Div", power, peak)
    scaled = graph.add("Mul", relative, graph.constant(10 ** (top_db / 10)))
    shown = graph.add("Log", graph.add("Max", scaled, graph.constant(1)))
    centred = graph.add("Sub", shown, graph.add("ReduceMean", shown, keepdims=1))
    variance = graph.add("ReduceMean", graph.add("Mul", centred, centred), keepdims=1)
    some = graph.add("Greater", variance, graph.constant(0))
    deviation = graph.add("Sqrt", variance)
    deviation = graph.add("Where", some, deviation, graph.constant(np.inf))
    return graph.add("Div", centred, deviation)
