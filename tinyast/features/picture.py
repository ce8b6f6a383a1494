"""Draw the model's input: the log-mel spectrogram of a window as a small greyscale PNG."""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from tinyast.arrays import Float
from tinyast.features import audioset
from tinyast.features.log_mel import FeatureSettings

MOST = 64  # rows and columns; a finer picture is averaged down


class Drawing(Struct, frozen=True):
    """A greyscale PNG, with low bands at the bottom and time from left to right."""

    png: bytes
    # Of black and of white, under the clip's loudest cell; None if the model's input does not say.
    db: tuple[float, float] | None


def draw(picture: Float, settings: FeatureSettings) -> Drawing:
    """Draw the model's input for one clip, (n_mels, n_frames): its least value is black.

    Inputs on Slaney's scale (models before version 5) are normalised by each clip's own mean and
    deviation, and so have no decibels.
    """
    small = averaged(picture)
    low, high = float(small.min()), float(small.max())
    scaled = (small - np.float32(low)) * np.float32(255 / (high - low) if high > low else 0)
    grey: NDArray[np.uint8] = np.rint(scaled[::-1]).astype(np.uint8)
    db = None
    if settings.scale == "audioset":
        db = audioset.decibels(low), audioset.decibels(high)
    return Drawing(_png(grey), db)


def averaged(picture: Float) -> Float:
    """At most `MOST` rows and columns, each the mean of an equal share of those given."""
    rows, columns = picture.shape
    if rows > MOST:
        picture = _shares(rows) @ picture
    if columns > MOST:
        picture = picture @ _shares(columns).T
    return picture


@lru_cache(maxsize=8)
def _shares(count: int) -> Float:
    """Weights of means of `count` values: (MOST, count), one mean for each row."""
    edges = np.linspace(0, count, MOST + 1)
    cells = np.arange(count)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    return np.asarray(np.maximum(overlap, 0) * (MOST / count), np.float32)


def _png(grey: NDArray[np.uint8]) -> bytes:
    """An 8-bit greyscale PNG (PNG specification, 3rd edition) of grey levels, (rows, columns)."""
    rows, columns = grey.shape
    lines = np.empty((rows, columns + 1), np.uint8)
    lines[:, 0] = 2  # filter "up": a row as the difference from the one above it
    lines[0, 1:] = grey[0]
    np.subtract(grey[1:], grey[:-1], out=lines[1:, 1:])
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    content = zlib.compress(lines.tobytes())
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(*part) for part in ((b"IHDR", header), (b"IDAT", content), (b"IEND", b""))
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
