"""Draw what the model sees of a window: its log-mel spectrogram as a greyscale PNG."""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tinyast.arrays import Float
from tinyast.audio.resampling import resample
from tinyast.features.log_mel import FeatureSettings, log_mel
from tinyast.inference.checkpoint import read_checkpoint


@lru_cache(maxsize=1)
def _settings() -> FeatureSettings:
    return read_checkpoint(None).features


def draw(samples: Float, rate: int) -> bytes:
    """The picture of mono `samples`, (n,) at `rate` Hz, as a PNG; low bands at the bottom."""
    settings = _settings()
    heard = resample(samples, rate, settings.sampling_rate)[: settings.n_samples]
    heard = np.pad(heard, (0, settings.n_samples - len(heard)))
    return grey_png(log_mel(heard, settings)[::-1])


def grey_png(picture: Float) -> bytes:
    """An 8-bit greyscale PNG (PNG specification, 3rd edition) of an array, (rows, columns).

    The least value is black, the greatest white.
    """
    low, high = float(picture.min()), float(picture.max())
    scaled = (picture - low) * (255 / (high - low) if high > low else 0.0)
    grey: NDArray[np.uint8] = np.rint(scaled).astype(np.uint8)
    rows, columns = grey.shape
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), grey], axis=1)  # no filter
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
