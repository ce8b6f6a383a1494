"""Remove an offset (DC) from samples: cheap recorders add one, and it is no sound."""

from __future__ import annotations

import numpy as np

from tinyast.arrays import Float


def without_offset(samples: Float) -> Float:
    """A window, (n,), without its mean, before it is resampled or padded with zeros.

    Where zeros meet an offset is a step, which sounds like a click.
    """
    if not len(samples):
        return samples
    with np.errstate(invalid="ignore"):  # infinite samples become NaN, which the caller refuses
        clear: Float = samples - samples.mean()
    return clear
