"""Synthetic recordings for the measurements, all different."""

from __future__ import annotations

import numpy as np

RATE = 44_100  # Hz
SECONDS = 5


def recording(seed: int, seconds: float = SECONDS) -> bytes:
    """A 16-bit mono WAV: noise of changing colour and level."""
    chance = np.random.default_rng(seed)
    frames = round(seconds * RATE)
    steps = chance.normal(0, 1, frames)
    noise = np.cumsum(0.02 * steps) * 0.9 + chance.normal(0, 0.1, frames)
    noise -= noise.mean()
    swell = 0.1 + 0.9 * np.abs(np.sin(np.arange(frames) * chance.uniform(1, 20) / RATE))
    scaled = (noise / np.abs(noise).max() * swell * 30_000).astype("<i2")
    return wav(scaled.tobytes())


def wav(samples: bytes) -> bytes:
    """A WAV file of 16-bit mono `samples`."""
    sizes = (len(samples) + 36, 16, RATE, RATE * 2, len(samples))
    riff, fmt, rate, per_second, data = (size.to_bytes(4, "little") for size in sizes)
    return (
        b"RIFF" + riff + b"WAVEfmt " + fmt + b"\1\0\1\0" + rate + per_second
        + b"\2\0\x10\0data" + data + samples
    )  # fmt: skip
