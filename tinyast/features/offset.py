"""Remove an offset (DC) from samples: cheap recorders add one, and it is no sound."""

from __future__ import annotations

import numpy as np

from tinyast.arrays import Float

BLOCKS = 32
LEAST_SHARE = 1e-4  # of the loudest block's power: a quieter one weighs as if it had that
ENOUGH = 50_000  # samples, evenly spaced, to tell an offset by


def offset_of(samples: Float) -> np.float32:
    """Where a window, (n,), is at rest; not finite if its samples are not.

    A short sound need not swing evenly about its rest, so its mean is not that. The offset is the
    mean of `BLOCKS` blocks, weighted by one over the power of what moves in them: pauses say most
    about it.
    """
    if len(samples) < BLOCKS:
        return np.float32(0)
    some = samples[:: 1 + len(samples) // ENOUGH]
    size = len(some) // BLOCKS
    blocks = some[: size * BLOCKS].reshape(BLOCKS, size)
    with np.errstate(invalid="ignore", over="ignore"):  # the caller refuses what is not finite
        means = blocks.mean(axis=1, dtype=np.float64)
        power = np.maximum(np.einsum("ij,ij->i", blocks, blocks) / size - means**2, 0)
        weights = 1 / (power + LEAST_SHARE * power.max() + np.finfo(np.float32).tiny)
        return np.float32(weights @ means / weights.sum())


def without_offset(samples: Float, out: Float | None = None) -> Float:
    """A window, (n,), at rest at 0, before it is resampled or padded with zeros.

    Where zeros meet an offset is a step, which sounds like a click. The result is written into
    `out`, (n,), if given.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        clear: Float = np.subtract(samples, offset_of(samples), out=out)
    return clear
