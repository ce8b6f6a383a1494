"""Latency: from a closed file to its prediction at a subscriber, at shares of the throughput.

Files arrive at random (a Poisson process), like files from many independent writers, at 1, 10, 50
and 90 % of the rate at which this daemon works through a backlog.

They are written to the journal's disk. Half load fills it with a hundred megabytes a second, and
commits then wait for the disk. Half load is therefore measured again with the files in memory,
which are deleted once their predictions have arrived; the journal stays on the disk.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np

from scripts.benchmark.figures import Counts, Figure
from scripts.benchmark.served import PREDICTIONS, Bed, Served, Subscriber, listening
from scripts.benchmark.sound import recording

HALF = 50  # %
LOADS = (1, 10, HALF, 90)
KINDS = 50
MEMORY = Path("/dev/shm")  # a file system that Linux keeps in memory
Arrive = Callable[[Path, bytes], float]


def written(path: Path, data: bytes) -> float:
    """Write in place; return the time just before closing the file."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(fd, data)
    at = time.perf_counter()
    os.close(fd)
    return at


def renamed(path: Path, data: bytes) -> float:
    """Write under a temporary name; return the time just before renaming the file."""
    part = path.with_suffix(".part")
    part.write_bytes(data)
    at = time.perf_counter()
    part.rename(path)
    return at


def measure(bed: Bed, counts: Counts) -> list[Figure]:
    """All loads on one daemon, one after the other."""
    sounds = [recording(kind) for kind in range(min(KINDS, counts.files))]
    with bed.serve() as served, heard(served, sounds[0]) as subscriber:
        most = capacity(served, subscriber, sounds, 10 * counts.files)
        in_memory = _in_memory(bed, sounds, counts, most)
        figures = [Figure("files at once, done in a second", "/s", (most,))]
        for load in LOADS:
            figures.append(_latency(served, subscriber, sounds, counts, load, most, written))
        figures.append(_latency(served, subscriber, sounds, counts, 10, most, renamed))
    return [*figures, *in_memory]


def _in_memory(bed: Bed, sounds: list[bytes], counts: Counts, most: float) -> list[Figure]:
    """Half load in memory, if possible; measured first, because other loads keep the disk busy."""
    if not MEMORY.is_dir():
        return []
    os.sync()
    with (
        tempfile.TemporaryDirectory(dir=MEMORY) as folder,
        bed.serve(folder=Path(folder)) as served,
        heard(served, sounds[0]) as subscriber,
    ):
        figure = _latency(served, subscriber, sounds, counts, HALF, most, written, kept=False)
    return [replace(figure, name=f"{figure.name}, files in memory")]


def heard(
    served: Served, sound: bytes, topic: str = PREDICTIONS
) -> AbstractContextManager[Subscriber]:
    """A subscriber that has received a message about `sound`, a whole file."""
    return listening(served, topic, lambda n: written(served.folder / f"settle-{n}.wav", sound))


def capacity(
    served: Served, subscriber: Subscriber, sounds: list[bytes], files: int, name: str = "capacity"
) -> float:
    """Files a second if all are present and in the page cache."""
    for number in range(files):
        part = served.base / f"{number:06}.wav"
        part.write_bytes(sounds[number % len(sounds)])
    begin = time.perf_counter()
    for number in range(files):
        os.rename(served.base / f"{number:06}.wav", served.folder / f"{name}-{number:06}.wav")
    return files / (subscriber.count(files) - begin)


def _latency(
    served: Served,
    subscriber: Subscriber,
    sounds: list[bytes],
    counts: Counts,
    load: int,
    most: float,
    arrive: Arrive,
    kept: bool = True,
) -> Figure:
    rate = load / 100 * most
    files = max(counts.files, round(rate * counts.load_s))
    chance = np.random.default_rng(load)
    due = np.cumsum(chance.exponential(1 / rate, files)).tolist()
    sent: dict[str, float] = {}

    def write() -> None:
        begin = time.perf_counter()
        for number, at in enumerate(due):
            time.sleep(max(0.0, begin + at - time.perf_counter()))
            path = served.folder / f"{arrive.__name__}-{load}-{number:06}.wav"
            sent[str(path)] = arrive(path, sounds[number % len(sounds)])

    writer = threading.Thread(target=write)
    writer.start()
    arrived: dict[str, float] = {}
    for _ in range(files):
        at, message = subscriber.next()
        name = message["source"]["path"]
        arrived[name] = at
        if not kept:
            os.unlink(name)
    writer.join()
    took = tuple(1000 * (at - sent[name]) for name, at in arrived.items())
    return Figure(f"{arrive.__name__} to heard, {load} % load", "ms", took, f"{rate:.1f} files/s")
