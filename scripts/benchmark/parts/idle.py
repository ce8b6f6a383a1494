"""Processor time and memory of an idle daemon, alone and beside each of its helpers."""

from __future__ import annotations

import time

from scripts.benchmark.figures import Counts, Figure
from scripts.benchmark.machine import memory_mb
from scripts.benchmark.parts import helpers
from scripts.benchmark.served import Bed


def measure(bed: Bed, counts: Counts) -> list[Figure]:
    with bed.serve() as served:
        time.sleep(min(1.0, counts.idle_s))  # let work left over from the start finish
        (share,) = helpers.shares([served.pid], counts.idle_s)
        memory = memory_mb(served.pid)
    alone = [
        Figure("idle, share of one core", "%", share),
        Figure("idle, memory", "MB", (memory,)),
    ]
    return [*alone, *helpers.measure(bed, counts)]
