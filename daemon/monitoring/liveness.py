"""Whether a thread still gets anywhere: what a watchdog and a health check go by."""

from __future__ import annotations

import time


class Pulse:
    """Beaten by the thread it belongs to, looked at by another.

    While it is at rest nothing is expected of it; otherwise a beat is due every `limit_s`.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._last: float | None = None  # time.monotonic(); None: at rest

    def beat(self) -> None:
        self._last = time.monotonic()

    def rest(self) -> None:
        self._last = None

    @property
    def stalled(self) -> bool:
        last = self._last
        return last is not None and time.monotonic() - last > self._limit_s
