"""The results of a measurement: figures and the spread of their values."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

MB = 1e6
KEYS = ("median", "p5", "p95", "p99", "min", "max")


@dataclass(frozen=True)
class Figure:
    """All values of one measurement; without values, `note` says why it was skipped."""

    name: str
    unit: str
    values: tuple[float, ...] = ()
    note: str = ""  # conditions of the measurement, or what to install for it

    @property
    def median(self) -> float:
        return float(np.median(self.values))

    def summary(self) -> dict[str, Any]:
        about = {"name": self.name, "unit": self.unit, "n": len(self.values), "note": self.note}
        if not self.values:
            return about
        p5, median, p95, p99 = np.percentile(self.values, [5, 50, 95, 99]).tolist()
        numbers = (median, p5, p95, p99, min(self.values), max(self.values))
        return about | dict(zip(KEYS, numbers, strict=True))


@dataclass(frozen=True)
class Counts:
    """How often, how many and how long."""

    rounds: int  # of each stage and peer
    slow_rounds: int  # of peers that take seconds
    starts: int  # of a daemon
    files: int  # least number in each latency measurement
    load_s: float  # of each load
    flood: int  # files dropped at once
    floods: int  # successive floods, to compare the last with the first
    idle_s: float
    rows: tuple[int, ...]  # of a prepared journal
    finished: int  # finished files in the folder
    lengths_s: tuple[float, ...]  # of one recording
    stored: int  # predictions in a page's store


FULL = Counts(
    rounds=300,
    slow_rounds=8,
    starts=7,
    files=100,
    load_s=30.0,
    flood=10_000,
    floods=10,
    idle_s=60.0,
    rows=(1, 1_000, 100_000, 1_000_000),
    finished=200_000,
    lengths_s=(5, 60, 600, 3600),
    stored=1_000_000,
)
QUICK = Counts(
    rounds=5,
    slow_rounds=1,
    starts=1,
    files=4,
    load_s=0.2,
    flood=24,
    floods=2,
    idle_s=0.5,
    rows=(1, 500),
    finished=200,
    lengths_s=(5, 15),
    stored=2_000,
)


class Stopwatch:
    """Times steps by name, in milliseconds."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}

    def __call__(self, name: str, step: Callable[..., T], *given: Any) -> T:
        """Call `step`, return its result, and record its time under `name`."""
        begin = time.perf_counter()
        value = step(*given)
        self.times.setdefault(name, []).append(1000 * (time.perf_counter() - begin))
        return value

    def figures(self, leave_out: int = 0) -> list[Figure]:
        """A figure for each name, without its first `leave_out` times."""
        return [Figure(name, "ms", tuple(t[leave_out:])) for name, t in self.times.items()]
