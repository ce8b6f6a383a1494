"""Remove an offset (DC) from samples: cheap recorders add one, and it is no sound."""

from __future__ import annotations

import numpy as np

from tinyast.arrays import Float

BLOCKS = 32
LEAST_SHARE = 1e-4  # of the loudest block's power: a quieter one weighs as if it had that
ENOUGH = 50_000  # samples, evenly spaced, to tell an offset by


def without_offset(samples: Float) -> Float:
    """A window, (n,), at rest at 0, before it is resampled or padded with zeros.

    Where zeros meet an offset is a step, which sounds like a click. A short sound need not swing
    evenly about its rest, so its mean would make such a step. The offset is the mean of `BLOCKS`
    blocks, weighted by one over the power of what moves in them: pauses say most about it.
    """
    if len(samples) < BLOCKS:
        return samples
    some = samples[:: 1 + len(samples) // ENOUGH]
    size = len(some) // BLOCKS
    blocks = some[: size * BLOCKS].reshape(BLOCKS, size)
    with np.errstate(invalid="ignore", over="ignore"):  # the caller refuses what is not finite
        means = blocks.mean(axis=1, dtype=np.float64)
        power = np.maximum(np.einsum("ij,ij->i", blocks, blocks) / size - means**2, 0)
        weights = 1 / (power + LEAST_SHARE * power.max() + np.finfo(np.float32).tiny)
        clear: Float = samples - np.float32(weights @ means / weights.sum())
    return clear
