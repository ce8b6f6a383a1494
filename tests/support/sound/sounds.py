"""Sound files made for tests, byte by byte if that matters."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16_000


def noise(
    seconds: float, rate: int = RATE, seed: int = 0, level: float = 0.1
) -> NDArray[np.float32]:
    """White noise, (n,) float32."""
    samples = np.random.default_rng(seed).normal(0, level, round(seconds * rate))
    return samples.astype(np.float32)


def wav_bytes(
    samples: NDArray[np.float32], rate: int = RATE, subtype: str = "PCM_16", format: str = "WAV"
) -> bytes:
    """A whole file in memory, written by libsndfile."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, subtype=subtype, format=format)
    return buffer.getvalue()


def short_wav(seed: int = 0, seconds: float = 0.5) -> bytes:
    return wav_bytes(noise(seconds, seed=seed))


def write_wav(path: Path, seconds: float = 5.0, rate: int = RATE, seed: int = 0) -> Path:
    path.write_bytes(wav_bytes(noise(seconds, rate, seed), rate))
    return path


def header(
    data_bytes: int,
    rate: int = RATE,
    channels: int = 1,
    bits: int = 16,
    encoding: int = 1,
    riff_bytes: int | None = None,
) -> bytes:
    """A WAV header of 44 bytes that promises `data_bytes` of samples."""
    align = channels * bits // 8
    riff = min(36 + data_bytes, 0xFFFF_FFFF) if riff_bytes is None else riff_bytes
    return (
        struct.pack("<4sI4s4sI", b"RIFF", riff, b"WAVE", b"fmt ", 16)
        + struct.pack("<HHIIHH", encoding, channels, rate, (rate * align) % 2**32, align, bits)
        + struct.pack("<4sI", b"data", data_bytes)
    )


def long_wav(path: Path, hours: float) -> Path:
    """A recording of hours of silence that takes no room on disk."""
    data_bytes = round(hours * 3600 * 16_000) * 2
    with path.open("wb") as out:
        out.write(header(data_bytes))
        out.truncate(44 + data_bytes)
    return path
