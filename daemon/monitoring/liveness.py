"""Whether a thread makes progress, as the watchdog and the health check see it."""

from __future__ import annotations

import time


class Liveness:
    """Written by the thread that it belongs to, read by others.

    An idle thread owes no progress; any other has to report it every `limit_s` seconds.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._last: float | None = None  # time.monotonic(); None while idle

    def progress(self) -> None:
        self._last = time.monotonic()

    def idle(self) -> None:
        self._last = None

    @property
    def busy_s(self) -> float:
        """Seconds since the last progress; 0 while idle."""
        last = self._last
        return 0.0 if last is None else time.monotonic() - last

    @property
    def stalled(self) -> bool:
        return self.busy_s > self._limit_s
