"""From exec to ready: in total, by step, and by import."""

from __future__ import annotations

import subprocess
import sys
import time

from scripts.benchmark.figures import Counts, Figure
from scripts.benchmark.machine import memory_mb
from scripts.benchmark.served import Bed

SHOWN = 12  # number of the slowest imports to show
# The steps of a starting daemon, one after the other in a fresh interpreter.
STEPS = """
import time
begin = last = time.perf_counter()
def step(name):
    global last
    now = time.perf_counter()
    print(name, 1000 * (now - last), sep="\\t", flush=True)
    last = now
import daemon.cli.app; step("imports: command line")
import daemon.settings.schema, daemon.monitoring.logging; step("imports: settings")
import numpy; step("imports: numpy")
import zmq; step("imports: pyzmq")
import watchdog.observers.inotify; step("imports: watchdog")
import daemon.service.lifecycle; step("imports: the rest of the service")
from tinyast.onnx_session import load_onnxruntime
load_onnxruntime(); step("imports: onnxruntime")
from tinyast.classifier import Classifier
classifier = Classifier.load({checkpoint!r}, {engine!r}); step("model: load, check, optimise")
classifier.scores(numpy.zeros(220500, numpy.float32), 44100); step("model: first window")
"""


def measure(bed: Bed, counts: Counts) -> list[Figure]:
    """Starts of whole daemons, then the same number of runs of the steps."""
    ready, resident, peak = [], [], []
    for _ in range(counts.starts):
        with bed.serve() as served:
            ready.append(1000 * served.ready_s)
            resident.append(memory_mb(served.pid))
            peak.append(memory_mb(served.pid, "VmHWM"))
    figures = [
        Figure("exec to ready", "ms", tuple(ready)),
        Figure("memory at start, resident", "MB", tuple(resident)),
        Figure("memory at start, peak", "MB", tuple(peak)),
    ]
    return [*figures, *_steps(bed, counts.starts), *_imports()]


def _steps(bed: Bed, times: int) -> list[Figure]:
    checkpoint = None if bed.checkpoint is None else str(bed.checkpoint)
    script = STEPS.format(checkpoint=checkpoint, engine=bed.engine)
    steps: dict[str, list[float]] = {"interpreter": []}
    for _ in range(times):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        steps["interpreter"].append(1000 * (time.perf_counter() - begin))
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        for line in done.stdout.splitlines():
            name, _, took = line.partition("\t")
            steps.setdefault(name, []).append(float(took))
    return [Figure(f"step, {name}", "ms", tuple(took)) for name, took in steps.items()]


def _imports() -> list[Figure]:
    """The slowest imports, each without the modules that it imports (-X importtime)."""
    code = "import daemon.cli.app, daemon.service.lifecycle, watchdog.observers.inotify\n"
    code += "from tinyast.onnx_session import load_onnxruntime; load_onnxruntime()"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
    )
    own: dict[str, float] = {}
    for line in done.stderr.splitlines():
        _, _, columns = line.partition("import time:")
        fields = columns.split("|")
        if len(fields) == 3 and fields[0].strip().isdigit():
            own[fields[2].strip()] = int(fields[0]) / 1000
    slowest = sorted(own, key=own.__getitem__, reverse=True)[:SHOWN]
    return [Figure(f"import {name}", "ms", (own[name],), "alone") for name in slowest]
