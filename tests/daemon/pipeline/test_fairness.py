"""Windows that take seconds each, beside files that take milliseconds."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from running import Daemon, of_type
from sounds import write_wav

from daemon.journal.records import Delivery
from daemon.pipeline import queue as queue_module
from daemon.pipeline.queue import JobQueue, Turn
from tinyast.classifier import Classifier

MakeDaemon = Callable[..., Daemon]
LARGE = 8  # files


class Endless:
    """A job that always has another step."""

    steps = 1
    work = None
    source_name: str | None = None
    classifier: Classifier

    def __init__(self, heavy: bool) -> None:
        self.heavy = heavy

    def prepare(self) -> None:
        return None

    def finish(self, logits: object, speech: float = 0.0) -> list[Delivery]:
        return []

    def more(self) -> bool:
        return True

    def close(self) -> None:
        pass


class Clock:
    """Time that passes only when a job is worked on."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(queue_module, "time", clock)
    return clock


def filled(workers: int, heavy: int, light: int) -> JobQueue:
    """A queue that knows which jobs are heavy, as it does after their first step."""
    jobs = JobQueue(workers)
    hands: list[Turn] = []
    for _ in range(heavy):
        jobs.put(Endless(heavy=True))
        hands += jobs.get()
    for turn in hands:
        jobs.give_back(turn, more=True)
    for _ in range(light):
        jobs.put(Endless(heavy=False))
    return jobs


@pytest.mark.parametrize("light", [1, 3, 40])
def test_light_jobs_get_as_much_time_as_heavy_ones(clock: Clock, light: int) -> None:
    jobs = filled(1, 2, light)
    spent = {True: 0.0, False: 0.0}
    for _ in range(5_000):
        turns = jobs.get()
        for turn in turns:
            took = 4.0 if turn.job.heavy else 0.01
            clock.now += took
            spent[turn.job.heavy] += took
        for turn in turns:
            jobs.give_back(turn, more=True)
    assert spent[False] == pytest.approx(spent[True], rel=0.1)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_heavy_jobs_never_have_every_worker(clock: Clock, workers: int) -> None:
    jobs = filled(workers, 8, 1)
    hands: list[Turn] = []
    while len(hands) < workers:
        hands += jobs.get()
        if sum(turn.heavy for turn in hands) == max(1, workers - 1) and workers > 1:
            break
    if workers > 1:
        (turn,) = jobs.get()
        assert not turn.heavy, "the last worker is for the others"
    else:
        assert len(hands) == 1


def test_without_others_heavy_jobs_go_on_at_once(clock: Clock) -> None:
    jobs = filled(1, 1, 0)
    for _ in range(3):
        (turn,) = jobs.get()
        assert turn.heavy
        clock.now += 4
        jobs.give_back(turn, more=True)


def test_a_closed_queue_gives_heavy_jobs_back_and_counts_them(clock: Clock) -> None:
    jobs = filled(2, 3, 2)
    assert jobs.depths() == {"live": 0, "files": 2, "long": 3}
    assert len(jobs.close()) == 5


def sparse_wav(path: Path, hours: float, rate: int = 384_000, channels: int = 8) -> Path:
    """Silence that takes no room on the disk: 123 MB for each window of 5 s."""
    frame = 8 * channels
    size = int(3_600 * hours * rate) * frame
    head = b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack(
        "<IQQQI", 28, size + 72, size, size // frame, 0
    )
    head += b"fmt " + struct.pack("<IHHIIHH", 16, 3, channels, rate, rate * frame, frame, 64)
    hidden = path.with_name("." + path.name)
    with hidden.open("wb") as file:
        file.write(head + b"data\xff\xff\xff\xff")
        file.truncate(file.tell() + size)
    hidden.rename(path)
    return path


def test_a_small_file_waits_for_one_window_of_large_ones(daemon: MakeDaemon) -> None:
    """Not for a window of each of them, with one worker."""
    listening = daemon("--workers", "1").start()
    large = [sparse_wav(listening.folder / f"large{number}.wav", 12) for number in range(LARGE)]
    listening.hear(lambda r: len(of_type(r, "prediction")) >= LARGE, timeout=120)
    between: list[int] = []
    with listening.client(None) as client:
        for number in range(5):
            since = listening.newest()  # what was published earlier may still come
            path = write_wav(listening.folder / f"{number}.wav", seconds=0.5, seed=number)
            before = 0
            for received in client:
                message = received.message
                if message["type"] == "file" and message["source"]["path"] == str(path):
                    break
                before += message["type"] == "prediction" and message["seq"] > since
            between.append(before - 1)  # without its own
    assert sorted(between)[len(between) // 2] < LARGE / 2, between
    assert all(path.exists() for path in large)
    assert listening.stop() == 0
