"""The level of a live stream, and whether the microphone is silent."""

from __future__ import annotations

import math

import numpy as np

from tinyast.arrays import Float

NO_LEVEL = -200.0  # dBFS of exact zeros
SILENT_S = 10.0  # of exact zeros until a microphone counts as silent
LEVEL_S = 0.5  # time constant of the smoothing


class LevelMeter:
    """Smoothed level of one microphone."""

    def __init__(self) -> None:
        self.dbfs = NO_LEVEL  # of the last second or so
        self.silent = False
        self._zeros = 0.0  # s of exact zeros up to now

    def restart(self) -> None:
        """A stream ended; the next one starts without a level."""
        self.dbfs, self._zeros = NO_LEVEL, 0.0

    def feed(self, samples: Float, rate: int) -> bool:
        """Take in samples, (n,) at `rate` Hz; True if `silent` changed."""
        seconds = len(samples) / rate
        before = self.silent
        if not samples.any():
            self.dbfs = NO_LEVEL
            self._zeros += seconds
            self.silent = self.silent or self._zeros >= SILENT_S
        else:
            self._zeros, self.silent = 0.0, False
            self._smooth(float(np.var(samples, dtype=np.float64)), seconds)  # an offset is no sound
        return self.silent != before

    def _smooth(self, power: float, seconds: float) -> None:
        if math.isfinite(power):
            now = 10 ** (self.dbfs / 10)
            now += (power - now) * min(1.0, seconds / LEVEL_S)
            self.dbfs = 10 * math.log10(max(now, 1e-20))
