"""Processor time and memory of an idle daemon, alone and beside each of its helpers."""

from __future__ import annotations

from scripts.benchmark.figures import Counts, Figure
from scripts.benchmark.parts import helpers
from scripts.benchmark.served import Bed


def measure(bed: Bed, counts: Counts) -> list[Figure]:
    with bed.serve() as served:
        alone = helpers.costs({"idle": served.pid}, counts.idle_s)
    return [*alone, *helpers.measure(bed, counts)]
