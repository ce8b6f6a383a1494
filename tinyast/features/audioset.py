"""The spectrogram that EfficientAT's networks learnt AudioSet with, made of sound at 16 kHz.

They hear 32 kHz: pre-emphasis, a transform of 1,024 points, 128 bands from 0 to 15 kHz on the HTK
scale (Schmid, Koutini, Widmer 2023). At 16 kHz one of 512 points has the very same bins, and
pre-emphasis becomes a gain for each bin. Everything over 7.6 kHz stays at the floor, so that a
recording sounds alike whether or not its rate can hold more.

Unlike theirs, the level is that under the loudest cell of the clip: how loud a recording is makes
no difference.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tinyast.arrays import Float

BANDS = 128  # from 0 to `HIGHEST` Hz
USED = 103  # of them, up to 7.6 kHz; the others are empty
SPAN = 104.0  # bands up to 8 kHz, which fewer and broader bands share evenly
HIGHEST = 15_000.0  # Hz
WINDOW = 400  # samples, 25 ms
EMPHASIS = 0.97  # of the sample before, at twice the rate
PEAK = 300.0  # power given to a clip's loudest cell: about the median over ESC-50
LEAST = 1e-5  # power added to every cell before the logarithm
MEAN, SCALE = 4.5, 5.0  # (log + MEAN) / SCALE is what the network was given
FLOOR = float((np.log(LEAST) + MEAN) / SCALE)  # a cell without power
QUIET = np.float32(1e-12)  # power of a loudest cell below which a clip counts as silent


def filterbank(n_mels: int, n_fft: int, rate: int) -> Float:
    """Filters for the power of each bin, (n_mels, n_fft // 2 + 1), gains included.

    With fewer than 128 bands, each is the mean of the same number of the 104 up to 8 kHz.
    """
    bins = np.arange(n_fft // 2 + 1) * rate / n_fft
    edges = np.linspace(_htk(np.zeros(1))[0], _htk(np.full(1, HIGHEST))[0], BANDS + 2)
    rise = (_htk(bins) - edges[:-2, None]) / (edges[1] - edges[0])
    fall = (edges[2:, None] - _htk(bins)) / (edges[1] - edges[0])
    filters = np.maximum(0, np.minimum(rise, fall))
    # Twice the samples have twice the amplitude.
    filters *= 4 * (1 + EMPHASIS**2 - 2 * EMPHASIS * np.cos(np.pi * bins / rate))
    filters[:, -1] = 0
    filters[USED:] = 0
    if n_mels != BANDS:
        filters = broader(n_mels) @ filters
    return np.asarray(filters, np.float32)


def broader(n_mels: int) -> NDArray[np.float64]:
    """What makes `n_mels` bands of the 128: (n_mels, 128), each row the weights of a mean."""
    edges = np.linspace(0, SPAN, n_mels + 1)
    cells = np.arange(BANDS)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    overlap = np.maximum(overlap, 0)
    shares: NDArray[np.float64] = overlap / overlap.sum(axis=1, keepdims=True)
    return shares


def window(n_fft: int) -> Float:
    """Hann's window of 25 ms in its symmetric form, in the middle of a frame: (n_fft,)."""
    before = (n_fft - WINDOW) // 2
    return np.pad(np.hanning(WINDOW), (before, n_fft - WINDOW - before)).astype(np.float32)


def normalise(power: Float) -> Float:
    """The picture of a clip of such power, (..., bands, columns)."""
    peak = np.maximum(power.max(axis=(-2, -1), keepdims=True), QUIET)
    scaled = power * (np.float32(PEAK) / peak)
    picture: Float = (np.log(scaled + np.float32(LEAST)) + np.float32(MEAN)) / np.float32(SCALE)
    return picture


def decibels(value: float) -> float:
    """A value of a picture as power in decibels under the clip's loudest cell."""
    return 10 / math.log(10) * (value * SCALE - MEAN - math.log(PEAK))


def _htk(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1127 * np.log(1 + hz / 700))
