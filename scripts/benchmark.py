"""What a daemon costs on this machine: latency, start, memory, idling, and each stage by itself.

    python -m scripts.benchmark
    python -m scripts.benchmark --files 1000 --json figures.json

A real daemon is started on a folder of its own and listened to as any other program would. Run it
with nothing else running: how busy the machine was before is printed with the figures.
"""

# ruff: noqa: E402
from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # as the daemon does, before numpy is loaded

import numpy as np
import typer
import zmq

from tinyast import __version__
from tinyast.audio import open_recording
from tinyast.classifier import Classifier
from tinyast.features import Float, log_mel
from tinyast.resample import resample

RATE = 44_100  # Hz
SECONDS = 5
WARM_UP = 10  # files or rounds before the first that counts
PATIENCE_S = 60.0
MB = 1e6


@dataclass(frozen=True)
class Figure:
    """One thing measured, as often as it was."""

    name: str
    unit: str
    values: tuple[float, ...]

    def summary(self) -> dict[str, Any]:
        low, median, p95, p99 = np.percentile(self.values, [5, 50, 95, 99]).tolist()
        return {
            "name": self.name,
            "unit": self.unit,
            "n": len(self.values),
            "median": median,
            "p5": low,
            "p95": p95,
            "p99": p99,
            "min": min(self.values),
            "max": max(self.values),
        }


# -- sound ---------------------------------------------------------------------------------------


def recording(seed: int) -> bytes:
    """Five seconds of 16-bit WAV: noise whose colour and level change, so that no two are alike."""
    chance = np.random.default_rng(seed)
    noise = np.cumsum(chance.normal(0, 0.02, SECONDS * RATE)) * 0.9 + chance.normal(
        0, 0.1, SECONDS * RATE
    )
    swell = 0.1 + 0.9 * np.abs(np.sin(np.arange(SECONDS * RATE) * chance.uniform(1, 20) / RATE))
    scaled = (noise / np.abs(noise).max() * swell * 30_000).astype("<i2")
    samples: bytes = scaled.tobytes()
    sizes = (len(samples) + 36, 16, RATE, RATE * 2, len(samples))
    riff, fmt, rate, per_second, data = (size.to_bytes(4, "little") for size in sizes)
    return (
        b"RIFF" + riff + b"WAVEfmt " + fmt + b"\1\0\1\0" + rate + per_second
        + b"\2\0\x10\0data" + data + samples
    )  # fmt: skip


# -- a daemon ------------------------------------------------------------------------------------


@dataclass
class Running:
    """A daemon in a process of its own, ready, and how long it took to be."""

    base: Path
    process: subprocess.Popen[bytes]
    ready_s: float
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder = self.base / "in"

    def memory_mb(self, name: str) -> float:
        """`VmRSS`, resident now, or `VmHWM`, the most there was, in megabytes (proc(5))."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024 / MB
        raise KeyError(name)

    def cpu_s(self) -> float:
        """Processor seconds used so far by all its threads (proc(5), utime and stime)."""
        line = Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = line.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(parent: Path, checkpoint: Path | None) -> Iterator[Running]:
    """Start a daemon on an empty folder and journal; stop it at the end."""
    with tempfile.TemporaryDirectory(dir=parent, prefix="benchmark-") as name:
        base = Path(name)
        (base / "in").mkdir()
        command = [sys.executable, "-m", "daemon", "run", "--watch", str(base / "in")]
        command += ["--state", str(base / "state"), "--publish", f"ipc://{base}/p"]
        command += ["--replay", f"ipc://{base}/r"]
        if checkpoint is not None:
            command += ["--checkpoint", str(checkpoint)]
        begin = time.perf_counter()
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            try:
                said = b""
                assert process.stderr is not None
                for line in process.stderr:
                    said += line
                    if b"ready" in line:
                        break
                else:
                    raise RuntimeError(f"no daemon: {said.decode(errors='replace')}")
                yield Running(base, process, time.perf_counter() - begin)
            finally:
                process.terminate()
                process.wait(PATIENCE_S)


class Subscriber:
    """Another program: hears predictions, knows nothing of replay."""

    def __init__(self, daemon: Running) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.subscribe("tinyast.v1.prediction.")
        self._socket.connect(f"ipc://{daemon.base}/p")

    def hear(self, path: Path, timeout: float = PATIENCE_S) -> tuple[float, dict[str, Any]] | None:
        """When the prediction for `path` arrived, and what it says; None if it does not come."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            if self._socket.poll(max(1, int(1000 * left))):
                _, body = self._socket.recv_multipart()
                arrived = time.perf_counter()
                message = json.loads(body)
                if message["source"]["path"] == str(path):
                    return arrived, message
        return None

    def close(self) -> None:
        self._context.destroy(linger=0)


# -- ways for a file to arrive -------------------------------------------------------------------


def written(path: Path, data: bytes) -> float:
    """Write in place; the moment before it is closed."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(fd, data)
    at = time.perf_counter()
    os.close(fd)
    return at


def renamed(path: Path, data: bytes) -> float:
    """Write under a temporary name; the moment before it is given its own."""
    part = path.with_suffix(".part")
    part.write_bytes(data)
    at = time.perf_counter()
    part.rename(path)
    return at


# -- measurements --------------------------------------------------------------------------------


def measure_starts(parent: Path, checkpoint: Path | None, times: int) -> list[Figure]:
    """From exec to the ready line, and the memory of a daemon that has done nothing yet."""
    ready, resident, peak = [], [], []
    for _ in range(times):
        with running(parent, checkpoint) as daemon:
            ready.append(1000 * daemon.ready_s)
            resident.append(daemon.memory_mb("VmRSS"))
            peak.append(daemon.memory_mb("VmHWM"))
    return [
        Figure("start, exec to ready", "ms", tuple(ready)),
        Figure("memory at start, resident", "MB", tuple(resident)),
        Figure("memory at start, peak", "MB", tuple(peak)),
    ]


def measure_latency(
    daemon: Running, arrive: Callable[[Path, bytes], float], files: int, pause: float
) -> list[Figure]:
    """From the arrival of a file to its prediction in a subscriber, one file after the other."""
    subscriber = Subscriber(daemon)
    outside, inside = [], []
    try:
        for number in range(WARM_UP + files):
            path = daemon.folder / f"{arrive.__name__}-{number:06}.wav"
            data = recording(number)
            time.sleep(pause)  # as files do: now and then, not in a chain
            at = arrive(path, data)
            # A subscription takes a moment to reach the daemon, so the first may go unheard.
            heard = subscriber.hear(path, 1.0 if number < WARM_UP else PATIENCE_S)
            if number < WARM_UP:
                continue
            if heard is None:
                raise RuntimeError(f"no prediction for {path} within {PATIENCE_S:g} s")
            outside.append(1000 * (heard[0] - at))
            inside.append(heard[1]["latency_ms"])
    finally:
        subscriber.close()
    return [
        Figure(f"latency, {arrive.__name__} to heard", "ms", tuple(outside)),
        Figure(f"latency, {arrive.__name__}: daemon's own", "ms", tuple(inside)),
    ]


def measure_memory(daemon: Running, files: int) -> list[Figure]:
    """What the daemon holds after its work."""
    after = f"after {files} files"
    return [
        Figure(f"memory {after}, resident", "MB", (daemon.memory_mb("VmRSS"),)),
        Figure(f"memory {after}, peak", "MB", (daemon.memory_mb("VmHWM"),)),
    ]


def measure_idle(daemon: Running, seconds: float) -> list[Figure]:
    """Processor time of a daemon with nothing to do, in percent of one core."""
    shares = []
    for _ in range(3):
        begin, used = time.perf_counter(), daemon.cpu_s()
        time.sleep(seconds / 3)
        shares.append(100 * (daemon.cpu_s() - used) / (time.perf_counter() - begin))
    return [Figure("idle, share of one core", "%", tuple(shares))]


def measure_stages(parent: Path, checkpoint: Path | None, rounds: int) -> list[Figure]:
    """Each step from a file to a score, on one thread, and what a commit costs on this disk."""
    classifier = Classifier.load(checkpoint)
    settings = classifier.checkpoint.features
    times: dict[str, list[float]] = {}

    def timed(name: str, step: Callable[..., Any], *given: Any) -> Any:
        begin = time.perf_counter()
        value = step(*given)
        times.setdefault(name, []).append(1000 * (time.perf_counter() - begin))
        return value

    with tempfile.TemporaryDirectory(dir=parent, prefix="benchmark-") as folder:
        path = Path(folder) / "a.wav"
        with closing(_journal(Path(folder))) as journal:
            for number in range(WARM_UP + rounds):
                path.write_bytes(recording(number))
                samples = timed("decode", _decode, path)
                heard = timed("resample", resample, samples, RATE, settings.sampling_rate)
                picture = timed("features", log_mel, heard, settings)
                timed("model", classifier.engine.logits, picture[None])
                timed("commit of 2 kB, fsync", _commit, journal)
    return [
        Figure(f"stage: {name}", "ms", tuple(values[WARM_UP:])) for name, values in times.items()
    ]


def _decode(path: Path) -> Float:
    fd = os.open(path, os.O_RDONLY)
    try:
        sound = open_recording(fd, os.fstat(fd).st_size)
        return sound.read(0, sound.frames)
    finally:
        os.close(fd)


def _journal(folder: Path) -> sqlite3.Connection:
    """A database with the journal's guarantees: WAL, and on disk before a commit returns."""
    database = sqlite3.connect(folder / "a.sqlite3", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE messages (seq INTEGER PRIMARY KEY, body BLOB)")
    return database


def _commit(database: sqlite3.Connection) -> None:
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO messages (body) VALUES (?)", (bytes(2_000),))
    database.execute("COMMIT")


# -- the report ----------------------------------------------------------------------------------


def busy(seconds: float = 2.0) -> float:
    """How much of all processors others use just now, in percent (proc(5), stat)."""

    def read() -> tuple[int, int]:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()
        ticks = [int(field) for field in fields[1:9]]
        return sum(ticks), ticks[3] + ticks[4]  # all; idle and waiting for disks

    before, idle_before = read()
    time.sleep(seconds)
    after, idle_after = read()
    return 100 * (1 - (idle_after - idle_before) / max(1, after - before))


def machine() -> dict[str, Any]:
    """Where the figures come from."""
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


def table(where: dict[str, Any], figures: list[Figure]) -> str:
    """The figures for people."""
    others = where["busy_before"]
    lines = [
        f"{where['cpu']}, {where['cores']} cores, Python {where['python']}, {where['system']}",
        f"processors busy before: {others:.0f} %"
        + (" (something else was running: compare with care)" if others > 5 else ""),
        "",
        f"{'':<38} {'':>4} {'n':>5} {'median':>9} {'p5':>9} {'p95':>9} {'p99':>9} {'max':>9}",
    ]
    for figure in figures:
        f = figure.summary()
        numbers = " ".join(f"{f[key]:9.2f}" for key in ("median", "p5", "p95", "p99", "max"))
        lines.append(f"{f['name']:<38} {f['unit']:>4} {f['n']:>5} {numbers}")
    return "\n".join(lines)


def main(
    files: Annotated[int, typer.Option(help="Files in each measurement of latency.", min=1)] = 200,
    starts: Annotated[int, typer.Option(help="Starts of a daemon.", min=1)] = 5,
    idle: Annotated[float, typer.Option(help="Seconds of idling.", min=0.1)] = 30.0,
    stages: Annotated[int, typer.Option(help="Rounds of the single stages.", min=1)] = 200,
    pause: Annotated[float, typer.Option(help="Seconds between files.", min=0)] = 0.05,
    checkpoint: Annotated[Path | None, typer.Option(help="Checkpoint folder.")] = None,
    dir: Annotated[
        Path | None, typer.Option(help="Where folder and journal lie: the disk measured.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here too.")
    ] = None,
) -> None:
    """Measure a daemon on this machine and print one table."""
    where = machine()
    parent = Path(tempfile.gettempdir()) if dir is None else dir
    figures = measure_starts(parent, checkpoint, starts)
    with running(parent, checkpoint) as daemon:
        for arrive in (written, renamed):
            figures += measure_latency(daemon, arrive, files, pause)
        figures += measure_memory(daemon, 2 * (WARM_UP + files))
        figures += measure_idle(daemon, idle)
    figures += measure_stages(parent, checkpoint, stages)
    typer.echo(table(where, figures))
    if json_file is not None:
        report = {"machine": where, "figures": [figure.summary() for figure in figures]}
        json_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
