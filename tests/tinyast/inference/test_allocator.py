"""The C library's allocator, as the daemon has it: few pages are mapped twice."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT


def run(code: str) -> float:
    """The number that `code` prints in a separate interpreter."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


FAULTS = """
import resource
import numpy as np
from tinyast.inference.allocator import keep_freed_memory
{tune}
def work():
    for size in (600_000, 500_000, 700_000):
        np.ones(size, np.uint8) + np.ones(size, np.uint8)
for _ in range(5):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    work()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 100)
"""

FREED = """
import ctypes
from tinyast.inference.allocator import give_back_freed_memory
malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
malloc.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [malloc(100_000) for _ in range(500)]
for block in blocks:
    ctypes.memset(block, 1, 100_000)
last = malloc(100_000)  # what is freed below it cannot be trimmed from the top
for block in blocks:
    free(block)
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
before = resident()
give_back_freed_memory()
print(before - resident())
"""


# What windows in four threads took, and the share of it that is left when they are done.
WINDOWS = """
import threading
import numpy as np
from tinyast import Classifier
from tinyast.inference.allocator import give_back_freed_memory, keep_freed_memory
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
keep_freed_memory(4)
classifier = Classifier.load()
classifier.give_back_memory()
give_back_freed_memory()
loaded = resident()
window = np.random.default_rng(0).standard_normal(220_500).astype(np.float32) / 10
before = classifier.scores(window, 44_100)[0]
def work():
    for _ in range(5):
        classifier.scores(window, 44_100)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
worked = resident()
classifier.give_back_memory()
give_back_freed_memory()
print((resident() - loaded) / (worked - loaded))
assert (classifier.scores(window, 44_100)[0] == before).all()
"""


@pytest.fixture(autouse=True)
def glibc() -> None:
    if "glibc" not in run_text("import platform; print(platform.libc_ver()[0] or 'none')"):
        pytest.skip("only glibc's allocator is tuned")


def run_text(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout


def test_windows_reuse_the_pages_of_the_windows_before() -> None:
    tuned = run(FAULTS.format(tune="assert keep_freed_memory()"))
    assert tuned < 5
    assert run(FAULTS.format(tune="")) > 10 * max(1.0, tuned)


def test_what_loading_freed_is_given_back() -> None:
    assert run(FREED) > 40e6


def test_what_windows_took_is_given_back() -> None:
    assert run(WINDOWS) < 0.5
