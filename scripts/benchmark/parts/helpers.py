"""What each helper costs beside an idle daemon: processor time and memory of both."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from scripts.benchmark.figures import Counts, Figure
from scripts.benchmark.machine import cpu_s, memory_mb
from scripts.benchmark.served import PATIENCE_S, Bed, NoDaemon, Served, ask, free_port

PARTS = 3
TABLES = {
    "page": "[page]\nport = {port}\n",
    "mqtt": '[mqtt]\nhost = "127.0.0.1"\nport = {port}\n',
    "notify": '[[notify]]\nurls = ["json://127.0.0.1:{port}"]\n',
}


def measure(bed: Bed, counts: Counts) -> list[Figure]:
    """An idle daemon with one helper at a time. The page has no browser, the broker is real."""
    figures = []
    for name, table in TABLES.items():
        if name == "mqtt" and shutil.which("mosquitto") is None:
            figures.append(Figure("mqtt", "%", note="install mosquitto"))
            continue
        port = free_port()
        with _broker(port) if name == "mqtt" else nullcontext(), bed.folder() as base:
            (base / "settings.toml").write_text(table.format(port=port))
            with bed.serve("--config", str(base / "settings.toml"), base=base) as served:
                both = {f"daemon beside {name}": served.pid, name: _ready(served)}
                figures += costs(both, counts.idle_s)
    return figures


def costs(pids: dict[str, int], seconds: float) -> list[Figure]:
    """Processor time and memory of idle processes, by the names of their figures."""
    time.sleep(min(1.0, seconds))  # let work left over from the start finish
    used = shares(list(pids.values()), seconds)
    figures = []
    for (who, pid), share in zip(pids.items(), used, strict=True):
        figures.append(Figure(f"{who}, share of one core", "%", share))
        figures.append(Figure(f"{who}, memory", "MB", (memory_mb(pid),)))
    return figures


def shares(pids: list[int], seconds: float) -> list[tuple[float, ...]]:
    """Processor time of each process in percent of one core, in `PARTS` parts of `seconds`."""
    found: list[tuple[float, ...]] = [() for _ in pids]
    for _ in range(PARTS):
        begin, used = time.perf_counter(), [cpu_s(pid) for pid in pids]
        time.sleep(seconds / PARTS)
        took = time.perf_counter() - begin
        for number, pid in enumerate(pids):
            found[number] += (100 * (cpu_s(pid) - used[number]) / took,)
    return found


def _ready(served: Served) -> int:
    """The process of the daemon's only helper, once it works."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        (helper,) = json.loads(ask(served, {"status": True})[0])["helpers"]
        if helper["state"] == "running":
            return int(helper["pid"])
        time.sleep(0.05)
    raise NoDaemon(f"{helper['name']} does not start: {(served.base / 'log').read_text()}")


@contextmanager
def _broker(port: int) -> Iterator[None]:
    """Mosquitto for this machine alone, without passwords."""
    with subprocess.Popen(
        ["mosquitto", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield
        finally:
            process.terminate()
