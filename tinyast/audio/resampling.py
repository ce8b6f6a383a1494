"""Resample a window from its own rate to the model's."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd

import numpy as np
from msgspec import Struct
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from tinyast.arrays import Float

FITTED = (44_100, 48_000)  # Hz; nearly all recordings, so they get dedicated matrices


PASS, STOP = 0.88, 1.06  # ends of the slope, as shares of half the lower rate
STOP_DB = 60.0
# Outputs that share a matrix: more multiply more zeros; fewer read the input more often.
WIDTH = 32


class Polyphase(Struct, frozen=True):
    """From one rate to a lower one, zeros before and after.

    Outputs `j * WIDTH` to `(j + 1) * WIDTH` of each block are `matrices[j]` applied to the
    block's input from `starts[j]` on, counted from `before` samples ahead of the block.
    """

    down: int  # samples of input from one block to the next
    up: int  # samples of output in one block
    before: int
    starts: tuple[int, ...]
    matrices: tuple[Float, ...]  # each (taps, WIDTH)

    @classmethod
    def design(cls, rate: int, target: int) -> Polyphase:
        """Fit one to `rate` and `target` Hz, which is the lower."""
        divisor = gcd(rate, target)
        down, up = rate // divisor, target // divisor
        half = _half_length((STOP - PASS) * target / 2 / rate)
        taps = ceil(2 * half + (WIDTH - 1) * rate / target) + 1
        repeat = ceil(taps / down)  # so that a row of input ends before the next begins
        while repeat * up % WIDTH:
            repeat += 1
        down, up = repeat * down, repeat * up
        firsts = [ceil(first * down / up - half) for first in range(0, up, WIDTH)]
        matrices = []
        for index, first in enumerate(firsts):
            given = np.arange(first, first + taps)[:, None]
            wanted = np.arange(index * WIDTH, (index + 1) * WIDTH) * (down / up)
            matrix = _low_pass(given - wanted, (STOP + PASS) / 2 * target / 2 / rate, half)
            matrices.append((matrix / matrix.sum(axis=0)).astype(np.float32))
        before = -min(firsts)
        return cls(down, up, before, tuple(first + before for first in firsts), tuple(matrices))

    def __call__(self, samples: Float, wanted: int) -> Float:
        """The first `wanted` samples at the lower rate, (wanted,), of `samples` (n,)."""
        blocks = self.blocks(wanted)
        padded = self.room(blocks, len(samples))
        padded[self.before : self.before + len(samples)] = samples
        out = np.empty((blocks, self.up), dtype=np.float32)
        for index, (start, matrix) in enumerate(zip(self.starts, self.matrices, strict=True)):
            rows = as_strided(padded[start:], (blocks, len(matrix)), (4 * self.down, 4))
            np.matmul(rows, matrix, out=out[:, index * WIDTH : (index + 1) * WIDTH])
        return out.reshape(-1)[:wanted]

    def blocks(self, wanted: int) -> int:
        """How many blocks make `wanted` samples of output."""
        return -(-wanted // self.up)

    def room(self, blocks: int, length: int) -> Float:
        """A place for `length` samples from `before` on, with zeros around it.

        From each of `starts` on it holds `blocks` rows of `down` samples.
        """
        size = max(max(self.starts) + blocks * self.down, self.before + length)
        padded = np.empty(size, dtype=np.float32)
        padded[: self.before] = 0
        padded[self.before + length :] = 0
        return padded


@lru_cache(maxsize=8)
def fitted(rate: int, target: int) -> Polyphase:
    """The resampler for `rate` and `target` Hz, designed at the first call."""
    return Polyphase.design(rate, target)


def _half_length(transition: float) -> float:
    """Half of Kaiser's estimate of the length, in samples; `transition` in cycles a sample."""
    return (STOP_DB - 7.95) / (2.285 * 2 * np.pi * transition) / 2


def _low_pass(at: NDArray[np.float64], cutoff: float, half: float) -> NDArray[np.float64]:
    """The filter `at` times in samples; `cutoff` in cycles a sample, zeros beyond `half`."""
    beta = 0.1102 * (STOP_DB - 8.7)
    shape = np.i0(beta * np.sqrt(np.maximum(0, 1 - (at / half) ** 2)))
    taps: NDArray[np.float64] = np.where(np.abs(at) < half, np.sinc(2 * cutoff * at) * shape, 0)
    return taps


def is_fitted(rate: int, target: int) -> bool:
    """Whether matrices resample `rate` to `target` Hz, or the rates are equal."""
    return rate == target or (rate in FITTED and target < rate)


def resample(samples: Float, rate: int, target: int) -> Float:
    """Resample one window, (n,) at `rate` Hz, to round(n * target / rate) samples at `target` Hz.

    Each window is resampled separately, so the same sound from any source gives the same result.
    """
    if rate == target:
        return samples
    wanted = round(len(samples) * target / rate)
    if is_fitted(rate, target):
        return fitted(rate, target)(samples, wanted)
    import soxr  # only for the other rates

    resampled = np.asarray(soxr.resample(samples, rate, target, quality="HQ"), dtype=np.float32)
    if len(resampled) >= wanted:
        return resampled[:wanted]
    return np.pad(resampled, (0, wanted - len(resampled)))
