"""Columns of unequal width: narrow for sound, wide for silence.

With 64 even columns for five seconds, each is 78 ms wide, and a short sound has few of them. So
each column gets the same share of the sound, not of the time.
"""

from __future__ import annotations

import numpy as np

from tinyast.arrays import Float

EVEN = 0.1  # part of all shares that is given out evenly over time
EXPONENT = 0.2  # of a frame's power beside the loudest: 40 dB under it, a frame has 0.16 as much
LEAST = np.float32(1e-8)  # added to that ratio
QUIET = np.float32(1e-12)  # power of a loudest frame below which a clip counts as silent


def equal_shares(power: Float, count: int) -> Float:
    """What makes `count` columns of frames of power (..., bands, frames): (..., count, frames).

    Each row holds the weights of a mean over frames in a row, those at its ends in part.
    """
    frames = power.shape[-1]
    loudness = power.mean(axis=-2)
    loudness = loudness / np.maximum(loudness.max(axis=-1, keepdims=True), QUIET)
    share = (loudness + LEAST) ** np.float32(EXPONENT)
    share = EVEN / frames + (1 - EVEN) * share / share.sum(axis=-1, keepdims=True)
    ends = np.cumsum(share, axis=-1)
    ends = ends / ends[..., -1:]
    starts = np.concatenate([np.zeros_like(ends[..., :1]), ends[..., :-1]], axis=-1)
    edges = np.linspace(0, 1, count + 1, dtype=np.float32)
    until = np.minimum(edges[1:, None], ends[..., None, :])
    overlap = np.maximum(until - np.maximum(edges[:-1, None], starts[..., None, :]), 0)
    total = np.maximum(overlap.sum(axis=-1, keepdims=True), QUIET)
    return np.asarray(overlap / total, np.float32)
