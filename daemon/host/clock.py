"""What time is it, by a clock that nobody sets?

Streams are held against it, and the age of what is kept is measured by it: a clock set forward,
by a hand that slipped or on a machine that began in 1970, must not make a journal look old.
"""

from __future__ import annotations

import time

# Where there is one, a clock that goes on while the machine is suspended.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Seconds since some moment, the same for all processes."""
    return time.clock_gettime(_CLOCK)


class SteadyClock:
    """Seconds since 1970 as the system had them at first, counted on from there."""

    def __init__(self) -> None:
        self._began = time.time() - clock()
        self._noticed = 0.0

    def now(self) -> float:
        return self._began + clock()

    def step(self, least_s: float) -> float:
        """By how much the system's clock was set since the last call, where that is `least_s` or
        more; else 0. What a time server corrects bit by bit is no step."""
        off = time.time() - self.now()
        stepped, self._noticed = off - self._noticed, off
        return stepped if abs(stepped) >= least_s else 0.0
