"""Throughput: a whole daemon with many files dropped at once, beside bare classification.

Each flood is compared with bare classification just before and just after it, because the speed of
a machine changes within minutes. The daemon with one worker per core gets the most floods, to show
whether later files cost more, and how much memory the daemon holds afterwards.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmark.figures import Counts, Figure
from scripts.benchmark.machine import memory_mb
from scripts.benchmark.served import FILES, Bed, Served, listening
from scripts.benchmark.sound import recording

KINDS = 50  # different recordings; the others are copies
BARE_S = 5.0
QUIET_S = 15.0  # after which a daemon has given memory back
FEW = 3  # floods of a daemon with fewer workers than cores


def measure(bed: Bed, counts: Counts) -> list[Figure]:
    cores = sorted(os.sched_getaffinity(0))
    seconds = min(BARE_S, counts.idle_s)
    with bed.folder() as folder:
        staging = Staging(folder / "staging", counts.flood)
        runs = []
        for workers in sorted({1, *range(2, len(cores), 2), len(cores)}):
            base = folder / f"workers-{workers}"
            base.mkdir()
            floods = counts.floods if workers == len(cores) else min(FEW, counts.floods)
            with bed.serve("--workers", str(workers), base=base) as served:
                bare = [_bare(bed, staging.path, seconds, cores)]
                took, held = [], []
                for number in range(floods):
                    took.append(staging.flood(served, f"{number}"))
                    held.append((memory_mb(served.pid), memory_mb(served.pid, "VmHWM")))
                    staging.take_back(served)
                    bare.append(_bare(bed, staging.path, seconds, cores))
                if workers == len(cores):  # only this one is asked about its memory
                    time.sleep(min(QUIET_S, counts.idle_s))
                quiet = memory_mb(served.pid)
            runs.append(Run(workers, counts.flood, took, held, quiet, bare))
        bare_rates = {len(cores): [rate for run in runs for rate in run.bare]}
        if len(cores) > 1:
            bare_rates[1] = [_bare(bed, staging.path, seconds, cores[:1]) for _ in range(FEW)]
    return [
        *(
            Figure(f"bare classification, cores: {count}", "/s", tuple(rates))
            for count, rates in sorted(bare_rates.items())
        ),
        *(run.figure for run in runs),
        *_whole(runs[-1]),
        Figure(
            f"{runs[-1].workers} workers over one",
            "x",
            (runs[-1].figure.median / runs[0].figure.median,),
            "of the medians",
        ),
    ]


@dataclass(frozen=True)
class Run:
    """Successive floods of one daemon, with new file names each time."""

    workers: int
    files: int  # in each flood
    took: list[float]  # s, of each flood
    held: list[tuple[float, float]]  # MB after each flood: resident, and the peak so far
    quiet: float  # MB resident once there was no work for a while
    bare: list[float]  # files a second by bare classification, before and after each

    @property
    def figure(self) -> Figure:
        rates = tuple(self.files / seconds for seconds in self.took)
        return Figure(
            f"daemon, workers: {self.workers}", "/s", rates, f"{self.files} files at once"
        )

    @property
    def shares(self) -> tuple[float, ...]:
        """Throughput in % of the bare classification around each flood."""
        around = zip(self.figure.values, self.bare, self.bare[1:], strict=False)
        return tuple(200 * rate / (before + after) for rate, before, after in around)


def _whole(run: Run) -> list[Figure]:
    """All figures of the daemon that has all cores."""
    costs = tuple(1000 * seconds / run.files for seconds in run.took)
    total = run.files * len(run.took)
    return [
        Figure("daemon over bare classification", "%", run.shares, "all cores, flood by flood"),
        Figure(f"memory after {run.files} files, resident", "MB", (run.held[0][0],)),
        Figure(f"memory after {run.files} files, peak", "MB", (run.held[0][1],)),
        Figure(f"memory after {total} files, resident", "MB", (run.held[-1][0],)),
        Figure(f"memory after {total} files, once quiet", "MB", (run.quiet,)),
        Figure(f"cost of a file, first {run.files}", "ms", (costs[0],)),
        Figure(f"cost of a file, last {run.files} of {total}", "ms", (costs[-1],)),
        Figure("cost of a file, flood by flood", "ms", costs),
        Figure("last flood over first", "x", (costs[-1] / costs[0],)),
        Figure(
            "last flood over first, beside bare classification",
            "x",
            (run.shares[0] / run.shares[-1],),
            "corrected for other load on the machine",
        ),
    ]


class Staging:
    """Files that wait beside the watched folder, to be moved in as fast as possible."""

    def __init__(self, path: Path, files: int) -> None:
        self.path, self.files = path, files
        path.mkdir()
        kinds = [recording(kind) for kind in range(min(KINDS, files))]
        for number in range(files):
            (path / f"{number:06}.wav").write_bytes(kinds[number % len(kinds)])
        os.sync()  # otherwise the disk would write these during the measurement

    def flood(self, served: Served, prefix: str) -> float:
        """Seconds from moving the first file in to receiving the last end state."""
        with listening(
            served, FILES, lambda attempt: _touch(served, f"{prefix}-settle-{attempt}")
        ) as subscriber:
            begin = time.perf_counter()
            for number in range(self.files):
                name = f"{number:06}.wav"
                os.rename(self.path / name, served.folder / f"{prefix}-{name}")
            return subscriber.count(self.files) - begin

    def take_back(self, served: Served) -> None:
        for path in served.folder.iterdir():
            if path.stem[-6:].isdigit() and "settle" not in path.name:
                path.rename(self.path / f"{path.stem[-6:]}.wav")


def _touch(served: Served, name: str) -> None:
    (served.folder / f"{name}.wav").write_bytes(b"no sound at all")


def _bare(bed: Bed, folder: Path, seconds: float, cores: list[int]) -> float:
    """Files a second on all these cores together, with one process per core."""
    command = [sys.executable, "-m", "scripts.benchmark.parts.bare", str(folder), str(seconds)]
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
