"""The machine that is measured, and memory and time of a process (proc(5))."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

from scripts.benchmark.figures import MB
from tinyast import __version__

BUSY = 5.0  # % of all processors; with more load from others, figures are doubtful


def memory_mb(pid: int, name: str = "VmRSS") -> float:
    """`VmRSS`, memory resident now, or `VmHWM`, its peak, in megabytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024 / MB
    raise KeyError(name)


def cpu_s(pid: int) -> float:
    """Processor seconds used so far by all threads of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy(seconds: float = 2.0) -> float:
    """Current load of all processors, in percent."""

    def read() -> tuple[int, int]:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()
        ticks = [int(field) for field in fields[1:9]]
        return sum(ticks), ticks[3] + ticks[4]  # all; idle and waiting for disks

    before, idle_before = read()
    time.sleep(seconds)
    after, idle_after = read()
    return 100 * (1 - (idle_after - idle_before) / max(1, after - before))


def describe() -> dict[str, Any]:
    """Describe this machine and its load before the measurement."""
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "tinyast": __version__,
        "cpu": model or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": platform.platform(),
        "busy_before": busy(),  # %
    }
