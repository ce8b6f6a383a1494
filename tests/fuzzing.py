"""Thousands of random inputs, for TINYAST_FUZZ_S seconds in each test.

Continuous integration uses a few seconds and a fixed seed;
`TINYAST_FUZZ_S=3600 TINYAST_FUZZ_SEED=7 pytest tests/daemon/test_fuzz.py` runs each for an hour
from another seed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis.strategies import SearchStrategy

FUZZ_S = float(os.environ.get("TINYAST_FUZZ_S", "12"))
FUZZ_SEED = int(os.environ.get("TINYAST_FUZZ_SEED", "0"))
ROUND = 200  # examples between two checks of the time
GROWN = 100e6  # bytes that this process may grow by, including hypothesis' own memory

Case = TypeVar("Case")


def fuzz(cases: SearchStrategy[Case], check: Callable[[Case], None]) -> int:
    """Run `check` on random cases until the time is up; return how many. Shrinks a failing case."""
    done = 0

    @hypothesis.settings(
        max_examples=ROUND,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def meet(case: Case) -> None:
        nonlocal done
        done += 1
        check(case)

    until = time.monotonic() + FUZZ_S
    number, before = FUZZ_SEED, 0
    while time.monotonic() < until or number == FUZZ_SEED:
        seed(number)(meet)()
        before = before or resident()  # after the first round, when everything is loaded
        number += 1
    grown = resident() - before
    assert grown < GROWN, f"{done} cases leaked {grown / 1e6:.0f} MB"
    print(f"{done} cases in {FUZZ_S:g} s, seeds {FUZZ_SEED} to {number - 1}")
    return done


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
