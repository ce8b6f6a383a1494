"""Windows of a live stream: every frame in one of them, in order, and no frame stays in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from sounds import noise

from daemon.journal.records import Delivery
from daemon.monitoring.metrics import Tally
from daemon.pipeline.clip_store import ClipStore
from daemon.pipeline.job import JobContext
from daemon.pipeline.live_job import MAX_WAITING, LiveJob, LiveWindow
from daemon.pipeline.prediction import Rules
from daemon.pipeline.queue import JobQueue
from daemon.pipeline.worker import Worker
from daemon.protocol.events import Tracker
from daemon.protocol.messages import Loss, Message, Prediction, Source
from daemon.settings.schema import Decision, Events, Microphone
from daemon.sources.microphone.windowing import Cutter, Piece
from tinyast import Classifier

RATE = 100


def ramp(start: int, frames: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.arange(start, start + frames, dtype=np.float32)


def test_windows_overlap_and_lie_on_the_grid() -> None:
    cutter = Cutter(RATE, 5.0, 2.5, 1000)
    pieces = [piece for n in range(0, 2000, 7) for piece in cutter.feed(ramp(1000 + n, 7))]
    assert [piece.start for piece in pieces] == list(range(1000, 2502, 250))
    for piece in pieces:
        np.testing.assert_array_equal(piece.samples, ramp(piece.start, 500))


def test_a_hop_that_is_no_whole_number_of_frames_does_not_drift() -> None:
    cutter = Cutter(RATE, 1.0, 1 / 3, 0)
    starts = [piece.start for n in range(3000) for piece in cutter.feed(ramp(10 * n, 10))]
    assert starts == [round(k * RATE / 3) for k in range(len(starts))]
    assert len(starts) > 890


def test_gaps_between_windows_that_are_wanted() -> None:
    cutter = Cutter(RATE, 5.0, 10.0, 0)
    pieces = [piece for n in range(350) for piece in cutter.feed(ramp(10 * n, 10))]
    assert [piece.start for piece in pieces] == [0, 1000, 2000, 3000]
    assert not list(cutter.finish()), "what lies between such windows is not heard"


steps = st.one_of(
    st.tuples(st.just("feed"), st.integers(1, 700)),
    st.tuples(st.just("lose"), st.integers(1, 2000), st.integers(0, 900)),
)


@given(st.lists(steps, max_size=40), st.sampled_from([0.7, 1.0, 2.5, 5.0]))
def test_every_frame_is_in_a_window(steps: list[tuple[Any, ...]], hop_s: float) -> None:
    """Losses that become plain later, too: frames are renumbered from those places on."""
    cutter = Cutter(RATE, 5.0, hop_s, 0)
    pieces: list[Piece] = []
    heard: list[int] = []  # the samples that came, each with its own number
    next_sample = 0
    since_loss = 0
    for kind, amount, *late in steps:
        if kind == "feed":
            pieces += cutter.feed(ramp(next_sample, amount))
            heard += range(next_sample, next_sample + amount)
            next_sample += amount
            since_loss += amount
        else:
            back = min(late[0], since_loss)
            before = cutter.end
            pieces += cutter.lose(cutter.end - back, amount)
            assert cutter.end == before + amount
            since_loss = 0
    pieces += cutter.finish()
    found = {int(sample) for piece in pieces for sample in piece.samples}
    assert found == set(heard)
    starts = [piece.start for piece in pieces]
    assert starts == sorted(set(starts)), "two windows of one start would have one id"
    assert all(0 < len(piece.samples) <= 500 for piece in pieces)


def test_it_holds_no_more_than_it_needs() -> None:
    cutter = Cutter(RATE, 5.0, 2.5, 0)
    for n in range(1000):
        list(cutter.feed(ramp(100 * n, 100)))
        assert sum(len(block) for block in cutter._held()[None]) <= 800


# -- from windows to messages ----------------------------------------------------------------------


@dataclass
class Desk:
    """A `LiveJob` with a real model; only the test works on it."""

    state: Path
    keep: str = "none"
    events: Events = field(default_factory=Events)
    decision: Decision = field(default_factory=Decision)
    said: list[Message] = field(default_factory=list)
    gaps: list[Loss] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)
    queue: JobQueue = field(default_factory=lambda: JobQueue(1))

    def __post_init__(self) -> None:
        self.context = JobContext(
            Classifier.load(), Rules(self.decision, 5.0, 1e5, 5), self._deliver
        )
        settings = Microphone(keep=self.keep)  # type: ignore[arg-type]
        self.job = LiveJob(
            Source("mic", "mic"),
            "run",
            self.context,
            Tracker(self.events),
            ClipStore(self.state, settings),
            self.gaps.append,
        )
        self.number = 0

    def _deliver(self, delivery: Delivery) -> None:
        self.said += delivery.record.messages
        self.rows += delivery.record.events

    def add(self, samples: Any = None, rate: int = 16_000) -> LiveWindow | None:
        samples = noise(5.0, rate, self.number) if samples is None else samples
        started = 1e9 + 2.5 * self.number
        window = LiveWindow(
            self.number, self.number * 40_000, samples, rate, started, 2.5 * self.number, 0.0
        )
        self.number += 1
        return self.job.add(window, self.queue.put_live)

    def work(self) -> None:
        """Do all that waits, as a worker would."""
        self.queue.close()
        self.worker().work()

    def worker(self) -> Worker:
        return Worker(0, self.queue, self.context, Tally())

    def predictions(self) -> list[Prediction]:
        return [m for m in self.said if isinstance(m, Prediction)]


def test_the_oldest_is_dropped_where_it_cannot_keep_up(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    dropped = [desk.add() for _ in range(MAX_WAITING + 3)]
    assert [w.index for w in dropped if w is not None] == [0, 1, 2]
    assert dropped[:MAX_WAITING] == [None] * MAX_WAITING
    desk.work()
    indexes = [p.window.index for p in desk.predictions()]
    assert indexes == list(range(3, MAX_WAITING + 3))


def test_ending_events_keeps_its_place_among_windows(tmp_path: Path) -> None:
    rules = Events(confirm_at=0.0)
    desk = Desk(tmp_path, events=rules, decision=Decision(threshold=0.0, unknown=False))
    sound = noise(5.0)
    desk.add(sound)
    desk.job.add("source_lost", desk.queue.put_live)
    desk.add(sound)
    desk.work()
    states = [(m.type, getattr(m, "state", None), getattr(m, "reason", None)) for m in desk.said]
    assert states == [
        ("prediction", None, None),
        ("event", "start", None),
        ("event", "end", "source_lost"),
        ("prediction", None, None),
        ("event", "start", None),
    ]
    # The journal holds the open event for its next start while the sound lasts.
    first, ended, second = desk.rows
    assert (first.id, ended.body) == (ended.id, None)
    assert msgspec.json.decode(second.body)["source"] == "mic"


def test_unconfirmed_windows_are_said_and_not_accepted(tmp_path: Path) -> None:
    decision = Decision(threshold=0.0, unknown=False)
    desk = Desk(tmp_path, "accepted", Events(confirm_at=1.0), decision)
    sound = noise(5.0)
    desk.add(sound)
    desk.add(sound)
    desk.work()
    first, second = desk.predictions()
    assert (first.decision, first.reason) == ("rejected", "unconfirmed")
    assert (second.decision, second.reason) == ("accepted", None)
    assert first.audio is UNSET
    assert isinstance(second.audio, str)
    assert Path(second.audio).exists()


def test_a_window_that_cannot_be_classified_is_a_gap(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    broken = noise(5.0)
    broken[100] = np.inf
    desk.add(broken)
    desk.add()
    desk.work()
    (gap,) = desk.gaps
    assert (gap.reason, gap.frames, gap.duration_s) == ("unusable", 80_000, 5.0)
    assert [p.window.index for p in desk.predictions()] == [1]


@pytest.mark.parametrize("frames", [1, 2, 100, 79_999])
def test_what_is_left_where_a_stream_broke_off(tmp_path: Path, frames: int) -> None:
    desk = Desk(tmp_path)
    desk.add(noise(5.0)[:frames])
    desk.work()
    (body,) = desk.predictions()
    window = body.window
    assert window.padded_s == pytest.approx(5.0 - frames / 16_000, abs=1e-5)
    assert window.end_s - window.start_s == pytest.approx(frames / 16_000, abs=1e-5)


def test_windows_come_in_order_with_many_workers(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    workers = [desk.worker() for _ in range(4)]
    for worker in workers:
        worker.start()
    added = 0
    while added < 20:
        if len(desk.predictions()) > added - MAX_WAITING:
            desk.add()
            added += 1
    desk.queue.close()
    for worker in workers:
        worker.join()
    assert [p.window.index for p in desk.predictions()] == list(range(20))
