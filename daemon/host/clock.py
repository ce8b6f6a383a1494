"""A clock that setting the system time does not affect.

It measures streams and the age of stored data: if the system clock jumps forward, by mistake or on
a machine that started in 1970, the journal must not look old.
"""

from __future__ import annotations

import time
from datetime import datetime

# If available, a clock that continues while the machine is suspended.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def local(unix: float) -> str:
    """Seconds since 1970 as date, local time and offset from UTC: 2026-11-29 12:09:23+01:00."""
    return datetime.fromtimestamp(unix).astimezone().isoformat(" ", "seconds")


def clock() -> float:
    """Seconds since a fixed moment, the same for all processes."""
    return time.clock_gettime(_CLOCK)


class SteadyClock:
    """Seconds since 1970: the system time at the start, advanced by the steady clock."""

    def __init__(self) -> None:
        self._began = time.time() - clock()
        self._noticed = 0.0

    def now(self) -> float:
        return self._began + clock()

    def step(self, least_s: float) -> float:
        """The step of the system clock since the last call, if at least `least_s`, else 0.

        Gradual corrections by a time server do not count."""
        off = time.time() - self.now()
        stepped, self._noticed = off - self._noticed, off
        return stepped if abs(stepped) >= least_s else 0.0
