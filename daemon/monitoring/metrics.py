"""Counts and durations of one run, for status and metrics."""

from __future__ import annotations

import bisect
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from msgspec import Struct, field

from daemon.protocol.messages import FileEnd, Message, Prediction

# How a connection's handshake may end.
HANDSHAKES = ("succeeded", "refused", "broken", "given_up")
# Seconds; the upper bounds of a histogram's buckets.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


Stage = Callable[[str], AbstractContextManager[None]]  # what times a stage of the work, by name


def untimed(_: str) -> AbstractContextManager[None]:
    """For work without timing."""
    return nullcontext()


class Histogram(Struct):
    """How often durations fell between bounds."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[bisect.bisect_left(BOUNDS, seconds)] += 1
        self.total_s += seconds


class Tally:
    """What one run has done so far."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.messages: Counter[str] = Counter()  # by the topic's first words, as `file.done`
        self.accepted: Counter[str] = Counter()  # predictions by label
        self.rejected: Counter[str] = Counter()  # predictions by reason
        self.latency = Histogram()  # from a window's sound being there to its commit
        self.stages: dict[str, Histogram] = defaultdict(Histogram)
        self.progress = time.time()  # of the last commit

    def message(self, message: Message, noticed: float | None) -> None:
        """Count a message that was committed. From the delivery thread.

        `noticed`: time.monotonic() when the sound of a prediction was whole.
        """
        kind = f"file.{message.state}" if isinstance(message, FileEnd) else message.type
        self.messages[kind] += 1
        if isinstance(message, Prediction):
            if message.reason is None:
                self.accepted[message.label] += 1
            else:
                self.rejected[message.reason] += 1
            if noticed is not None:
                self.latency.add(time.monotonic() - noticed)
        self.progress = time.time()

    @property
    def steps(self) -> int:
        """How many steps the workers took."""
        return sum(self.stages["step"].buckets)

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Time a stage of the work, whichever way it ends. From any thread."""
        return _Timed(self._add, name)

    def _add(self, name: str, seconds: float) -> None:
        with self._lock:
            self.stages[name].add(seconds)


class _Timed:  # a context manager in half the time of a generator
    def __init__(self, add: Callable[[str, float], None], name: str) -> None:
        self._add, self._name = add, name

    def __enter__(self) -> None:
        self._begin = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._add(self._name, time.perf_counter() - self._begin)
