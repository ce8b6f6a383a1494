"""Changes if files queue up: fewer wake-ups, and shared commits."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import zmq

from daemon.delivery.publisher import DeliveryThread
from daemon.journal.ledger import Identity, LedgerRow
from daemon.journal.reader import JournalReader
from daemon.journal.records import Delivery, Record
from daemon.journal.writer import Journal
from daemon.monitoring.metrics import Tally
from daemon.pipeline.queue import AT_ONCE, ROOM, JobQueue
from daemon.protocol.messages import status
from daemon.settings.schema import JournalLimits
from tinyast.classifier import Classifier


class Short:
    """A job of one step."""

    steps = 1
    work = None
    source_name: str | None = None
    heavy = False
    classifier: Classifier

    def prepare(self) -> None:
        return None

    def finish(self, logits: object, speech: float = 0.0) -> list[Delivery]:
        return []

    def more(self) -> bool:
        return False

    def close(self) -> None:
        pass


def test_a_full_queue_is_filled_again_in_one_go() -> None:
    jobs = JobQueue(1)
    for _ in range(ROOM):
        assert jobs.wait_for_room(0)
        jobs.put(Short())
    assert not jobs.wait_for_room(0)
    woken = threading.Event()

    def wait() -> None:
        if jobs.wait_for_room(60):
            woken.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    deadline = time.monotonic() + 60
    while not jobs.is_backlog:
        assert time.monotonic() < deadline
    left = ROOM
    while left > ROOM // 2:
        assert not woken.is_set(), f"woken for {ROOM - left} of {ROOM}"
        for turn in jobs.get():
            jobs.give_back(turn, more=False)
            left -= 1
    waiter.join(60)
    assert woken.is_set()
    assert not jobs.is_backlog


def test_a_queue_that_is_half_full_has_room_at_once() -> None:
    jobs = JobQueue(1)
    for _ in range(ROOM // 2 + 1):
        jobs.put(Short())
    assert jobs.wait_for_room(0)
    assert not jobs.is_backlog


def test_a_queue_with_little_room_says_so_when_the_time_is_over() -> None:
    jobs = JobQueue(1)
    for _ in range(ROOM):
        jobs.put(Short())
    jobs.give_back(jobs.get()[0], more=False)
    assert jobs.wait_for_room(0.01)


def test_a_worker_takes_several_where_many_wait_and_one_where_few_do() -> None:
    jobs = JobQueue(2)
    for _ in range(4 * AT_ONCE + 1):
        jobs.put(Short())
    taken = []
    while left := jobs.depths()["files"]:
        taken.append(len(jobs.get()))
        assert taken[-1] == 1 or 2 * taken[-1] <= left, "the other worker gets as many"
    assert taken[0] == AT_ONCE
    assert taken == sorted(taken, reverse=True)
    assert taken[-3:] == [1, 1, 1]
    assert sum(taken) == 4 * AT_ONCE + 1


def test_what_is_live_goes_alone_and_first() -> None:
    jobs = JobQueue(1)
    for _ in range(ROOM):
        jobs.put(Short())
    live = Short()
    jobs.put_live(live)
    (turn,) = jobs.get()
    assert turn.job is live


class _Endpoint:
    """A PUB socket without a peer."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.socket = context.socket(zmq.PUB)

    def cleared_by(self, ask: object) -> None:
        pass

    def close(self) -> None:
        self.socket.close()


@pytest.mark.parametrize("backlog", [False, True])
def test_commits_are_shared_only_where_files_queue_up(tmp_path: Path, backlog: bool) -> None:
    journal = Journal(tmp_path, "node", "run")
    commits: list[int] = []
    commit = journal.commit

    def counted(records: list[Record]) -> object:
        commits.append(len(records))
        return commit(records)

    journal.commit = counted  # type: ignore[method-assign, assignment]
    with zmq.Context() as context:
        thread = DeliveryThread(
            journal,
            _Endpoint(context),  # type: ignore[arg-type]
            JournalLimits(),
            Tally(),
            lambda: backlog,
        )
        thread.start()
        committed = threading.Semaphore(0)
        for number in range(40):
            record = Record([status("run", number, "test", "a message")])
            thread.put(Delivery(record, committed.release))
            if not backlog:  # each is there before the next is put
                assert committed.acquire(timeout=30)
            time.sleep(0.001)
        thread.stop()
        thread.join(30)
    assert sum(commits) == 40
    assert (len(commits) == 40) is not backlog


def test_the_ledger_is_asked_about_many_files_at_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "node", "run")
    known, other = Identity(2**64 - 1, 5, 6, 7), Identity(1, 2, 3, 4)
    for path, state in ((b"/a", "done"), (b"/b", "open"), (b"/c", "failed"), (b"/d", "forgotten")):
        row = LedgerRow(path, "in", known, 1, "id", state, 0, None)
        journal.commit([Record(row=row)])
    reader = JournalReader(tmp_path)
    found = dict.fromkeys((b"/a", b"/b", b"/c", b"/d", b"/e"), known)
    assert reader.finished(found) == {b"/a", b"/c"}
    assert reader.finished(found | {b"/a": other}) == {b"/c"}
    assert reader.finished({}) == set()
    reader.close()
    journal.close()
