"""What the daemon reports about itself when asked."""

from __future__ import annotations

import time
from collections import deque

from msgspec import Struct, field

from daemon.protocol.states import RunningModel

RATE_S = 60.0  # over which windows a second are counted


class Rate(Struct):
    """Events a second over the last minute, from a count that only rises."""

    samples: deque[tuple[float, int]] = field(default_factory=deque)

    def sample(self, count: int) -> None:
        now = time.monotonic()
        self.samples.append((now, count))
        while len(self.samples) > 2 and now - self.samples[1][0] > RATE_S:
            self.samples.popleft()

    @property
    def per_second(self) -> float:
        if len(self.samples) < 2:
            return 0.0
        (first, low), (last, high) = self.samples[0], self.samples[-1]
        return round((high - low) / max(last - first, 1e-3), 2)


class RunIdentity(Struct, frozen=True):
    """What does not change while a daemon runs."""

    node: str
    run_id: str
    journal: str
    publish: str
    replay: str
    state: str
    model: RunningModel
    workers: int
    started: float = field(default_factory=time.time)
    began: float = field(default_factory=time.monotonic)  # the same moment

    @property
    def uptime_s(self) -> float:
        return round(time.monotonic() - self.began, 1)
