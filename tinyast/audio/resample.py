"""From a recording's own rate to the model's."""

from __future__ import annotations

import numpy as np

from tinyast.audio.resampling import fitted
from tinyast.features.log_mel import Float

FITTED = (44_100, 48_000)  # Hz; nearly all that is recorded, and worth matrices of their own


def is_fitted(rate: int, target: int) -> bool:
    """Whether matrices get from `rate` to `target` Hz, or there is nothing to do."""
    return rate == target or (rate in FITTED and target < rate)


def resample(samples: Float, rate: int, target: int) -> Float:
    """Resample one window, (n,) at `rate` Hz, to round(n * target / rate) samples at `target` Hz.

    Each window is resampled by itself, so the same sound gives the same result however it came.
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
