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

from tinyast import Classifier
from tinyast.audio.content import Content
from tinyast.audio.decoding import FORMATS, open_recording
from tinyast.audio.windows import WindowPlan
from tinyast.errors import AudioError

FUZZ_S = float(os.environ.get("TINYAST_FUZZ_S", "6"))
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


def read_windows(path: Path, classifier: Classifier | None) -> str:
    """Read a file as the daemon does; how it ended. Any exception but the two meant escapes."""
    with path.open("rb") as file:
        try:
            recording = open_recording(Content(file.fileno(), path.stat().st_size), FORMATS)
            for window in WindowPlan(recording.frames, recording.rate):
                samples = recording.read(window.start, window.end)
                assert len(samples) == window.end - window.start
                if classifier is not None:
                    scores, level = classifier.scores(samples, recording.rate)
                    assert abs(float(scores.sum()) - 1) < 1e-4
                    assert -200 <= level < 121
        except AudioError as error:
            return error.code
        except OSError:
            return "os"
    return "read"
