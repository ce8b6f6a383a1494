"""Throughput: a whole daemon with many files dropped at once, beside bare classification.

The last daemon, with a worker for each core, is then given as many files again and again, to see
whether a file costs more the more came before, and what the daemon holds afterwards.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from scripts.benchmark.figures import Counts, Figure
from scripts.benchmark.machine import memory_mb
from scripts.benchmark.served import Bed, Served, Subscriber
from scripts.benchmark.sound import recording

KINDS = 50  # recordings that differ; the others are copies
BARE_S = 10.0


def measure(bed: Bed, counts: Counts) -> list[Figure]:
    cores = sorted(os.sched_getaffinity(0))
    bare: dict[int, list[float]] = {1: [], len(cores): []}
    seconds = min(BARE_S, counts.idle_s)
    figures: list[Figure] = []
    served_rate: dict[int, float] = {}
    with bed.folder() as folder:
        staging = Staging(folder / "staging", counts.flood)
        for workers in sorted({1, *range(2, len(cores), 2), len(cores)}):
            for number in bare:  # in turn with the daemons
                bare[number].append(_bare(bed, staging.path, seconds, cores[:number]))
            base = folder / f"workers-{workers}"
            base.mkdir()
            with bed.serve("--workers", str(workers), base=base) as served:
                took = staging.flood(served, "a")
                served_rate[workers] = counts.flood / took
                if workers == len(cores):
                    figures += _again(served, staging, counts, took)
                staging.take_back(served)
        for number in bare:
            bare[number].append(_bare(bed, staging.path, seconds, cores[:number]))
    return [*_rates(bare, served_rate, counts.flood), *figures]


def _rates(bare: dict[int, list[float]], served: dict[int, float], flood: int) -> list[Figure]:
    figures = [
        Figure(f"bare classification, cores: {number}", "/s", tuple(rates))
        for number, rates in bare.items()
    ]
    whole = figures[-1].median
    figures += [
        Figure(f"daemon, workers: {workers}", "/s", (rate,), f"{flood} files at once")
        for workers, rate in served.items()
    ]
    most = max(served)
    return [
        *figures,
        Figure("daemon over bare classification", "%", (100 * served[most] / whole,), "all cores"),
        Figure(f"{most} workers over one", "x", (served[most] / served[1],)),
    ]


def _again(served: Served, staging: Staging, counts: Counts, first: float) -> list[Figure]:
    """More floods for the same daemon: each file is new to it, by its name."""
    after = f"after {counts.flood} files"
    figures = [
        Figure(f"memory {after}, resident", "MB", (memory_mb(served.pid),)),
        Figure(f"memory {after}, peak", "MB", (memory_mb(served.pid, "VmHWM"),)),
    ]
    took = [first]
    for number in range(1, counts.floods):
        staging.take_back(served)
        took.append(staging.flood(served, f"b{number}"))
    costs = [1000 * seconds / counts.flood for seconds in took]
    total = counts.flood * counts.floods
    return [
        *figures,
        Figure(f"cost of a file, first {counts.flood}", "ms", (costs[0],)),
        Figure(f"cost of a file, last {counts.flood} of {total}", "ms", (costs[-1],)),
        Figure("cost of a file, flood by flood", "ms", tuple(costs)),
        Figure("last flood over first", "x", (costs[-1] / costs[0],)),
        Figure(f"memory after {total} files, resident", "MB", (memory_mb(served.pid),)),
    ]


class Staging:
    """Files that wait beside the watched folder, to be moved in as fast as it goes."""

    def __init__(self, path: Path, files: int) -> None:
        self.path, self.files = path, files
        path.mkdir()
        kinds = [recording(kind) for kind in range(min(KINDS, files))]
        for number in range(files):
            (path / f"{number:06}.wav").write_bytes(kinds[number % len(kinds)])
        os.sync()  # or the disk would be busy with these while others are measured

    def flood(self, served: Served, prefix: str) -> float:
        """Seconds from the first file moved in to the last end state heard."""
        subscriber = Subscriber(served, "tinyast.v1.file.")
        try:
            subscriber.settle(lambda attempt: _touch(served, f"{prefix}-settle-{attempt}"))
            begin = time.perf_counter()
            for number in range(self.files):
                name = f"{number:06}.wav"
                os.rename(self.path / name, served.folder / f"{prefix}-{name}")
            return subscriber.count(self.files) - begin
        finally:
            subscriber.close()

    def take_back(self, served: Served) -> None:
        for path in served.folder.iterdir():
            if path.stem[-6:].isdigit() and "settle" not in path.name:
                path.rename(self.path / f"{path.stem[-6:]}.wav")


def _touch(served: Served, name: str) -> None:
    (served.folder / f"{name}.wav").write_bytes(b"no sound at all")


def _bare(bed: Bed, folder: Path, seconds: float, cores: list[int]) -> float:
    """Files a second, on all these cores together, each in a process of its own."""
    command = [sys.executable, "-m", "scripts.benchmark.bare", str(folder), str(seconds)]
    options = ["--engine", bed.engine]
    if bed.checkpoint is not None:
        options += ["--checkpoint", str(bed.checkpoint)]
    processes = [
        subprocess.Popen(
            [*command, str(core), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for core in cores
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        said = []
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            said.append(float(process.stdout.readline()))
        return sum(said)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
