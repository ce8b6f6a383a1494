"""Processor time of an idle daemon."""

from __future__ import annotations

import time

from scripts.benchmark.figures import Counts, Figure
from scripts.benchmark.machine import cpu_s
from scripts.benchmark.served import Bed, Served

PARTS = 3


def measure(bed: Bed, counts: Counts) -> list[Figure]:
    with bed.serve() as served:
        time.sleep(min(1.0, counts.idle_s))  # let work left over from the start finish
        return [Figure("idle, share of one core", "%", shares(served, counts.idle_s))]


def shares(served: Served, seconds: float) -> tuple[float, ...]:
    """Processor time in percent of one core, in `PARTS` parts of `seconds`."""
    found = []
    for _ in range(PARTS):
        begin, used = time.perf_counter(), cpu_s(served.pid)
        time.sleep(seconds / PARTS)
        found.append(100 * (cpu_s(served.pid) - used) / (time.perf_counter() - begin))
    return tuple(found)
