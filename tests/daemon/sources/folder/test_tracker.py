"""The states of files, their due times and their bounds, under a clock that the test sets."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from daemon.journal.ledger import Identity
from daemon.journal.records import Delivery
from daemon.pipeline.job import Outcome
from daemon.sources.folder.changes import Change
from daemon.sources.folder.readiness import Growing
from daemon.sources.folder.tracker import FORGOTTEN, MADE_WAIT_S, OLD, FileTracker, Look
from tinyast.arrays import Float
from tinyast.classifier import Classifier

SETTLE_S = 8.0
PATH = b"/in/a.wav"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Work:
    """A job that only counts its steps."""

    work = None
    source_name: str | None = None
    heavy = False
    classifier: Classifier

    def __init__(self) -> None:
        self.steps = 0

    def prepare(self) -> Float | None:
        raise NotImplementedError

    def finish(self, logits: Float | None, speech: float = 0.0) -> list[Delivery]:
        raise NotImplementedError

    def more(self) -> bool:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def identity(size: int = 100, mtime_ns: int = 1, inode: int = 1) -> Identity:
    return Identity(inode, size, mtime_ns, mtime_ns)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tracker(clock: Clock) -> FileTracker:
    return FileTracker(SETTLE_S, most=4, clock=clock)


def take(tracker: FileTracker) -> Look:
    look = tracker.take()
    assert look is not None
    return look


def taken(tracker: FileTracker) -> Iterator[Look]:
    return iter(tracker.take, None)


def state(tracker: FileTracker) -> str:
    """The state of the only file there is."""
    (found,) = [name for name, count in tracker.counts().items() if count]
    return found


def in_work(tracker: FileTracker, sure: bool = True, of: Identity | None = None) -> Work:
    work = Work()
    tracker.claim(PATH, of or identity(), sure, work)
    return work


def test_files_are_bounded_and_what_does_not_fit_asks_for_a_scan(clock: Clock) -> None:
    tracker = FileTracker(SETTLE_S, clock=clock)
    for number in range(20_000):
        tracker.notice(b"%d" % number, Change.CLOSED)
    most = len(tracker)
    assert 4_096 <= most <= 10_000
    assert tracker.take_scan()
    assert [look.path for look in taken(tracker)] == [b"%d" % number for number in range(most)]


def test_a_file_is_just_made_only_while_nothing_else_is_known(
    tracker: FileTracker, clock: Clock
) -> None:
    tracker.notice(b"a", Change.MADE)
    tracker.notice(b"a", Change.CLOSED)
    tracker.notice(b"b", Change.OTHER)
    tracker.notice(b"b", Change.MADE)
    tracker.notice(b"c", Change.MADE)
    assert [(look.path, look.closed) for look in taken(tracker)] == [(b"a", True), (b"b", False)]
    clock.now += MADE_WAIT_S
    assert take(tracker).path == b"c"


def test_changes_of_one_file_are_one_look(tracker: FileTracker, clock: Clock) -> None:
    tracker.notice(PATH, Change.OTHER)
    clock.now += 1
    tracker.notice(PATH, Change.CLOSED)
    look = take(tracker)
    assert (look.closed, look.noticed) == (True, clock.now)
    assert tracker.take() is None


def test_a_change_during_a_look_asks_for_another(tracker: FileTracker) -> None:
    tracker.notice(PATH, Change.OTHER)
    look = take(tracker)
    tracker.notice(PATH, Change.OTHER)
    tracker.drop(look.path)
    assert take(tracker).path == PATH
    tracker.drop(PATH)
    assert len(tracker) == 0


def test_a_growing_file_settles_when_it_stays_the_same(tracker: FileTracker, clock: Clock) -> None:
    tracker.notice(PATH, Change.OTHER)
    assert tracker.settle(take(tracker), Growing(identity(100)))
    assert state(tracker) == "settling"
    clock.now += SETTLE_S
    look = take(tracker)
    assert (look.settled, look.old) == (identity(100), False)
    assert tracker.settle(look, Growing(identity(200)))  # it grew
    clock.now += SETTLE_S - 0.1
    assert tracker.take() is None
    clock.now += 0.1
    look = take(tracker)
    assert look.settled == identity(200)
    assert tracker.settle(look, Growing(identity(200, inode=2)))  # an inode proves no change
    clock.now += OLD * SETTLE_S
    assert take(tracker).old


def test_a_file_whose_close_was_seen_is_looked_at_again_soon_and_then_less_often(
    tracker: FileTracker, clock: Clock
) -> None:
    tracker.notice(PATH, Change.CLOSED)
    looks, began = 0, clock.now
    tracker.settle(take(tracker), Growing(identity()))
    while clock.now < began + SETTLE_S:
        clock.now = tracker.next_due()
        tracker.settle(take(tracker), Growing(identity()))
        looks += 1
    assert 5 <= looks <= 12


def test_a_file_with_a_writer_is_looked_at_each_settle_however_long(
    tracker: FileTracker, clock: Clock
) -> None:
    tracker.notice(PATH, Change.OTHER)
    for _ in range(100):
        tracker.settle(take(tracker), Growing(identity(), has_writer=True))
        clock.now += SETTLE_S
    assert state(tracker) == "settling"


def test_an_empty_file_is_old_much_later(tracker: FileTracker, clock: Clock) -> None:
    tracker.notice(PATH, Change.OTHER)
    tracker.settle(take(tracker), Growing(identity(0)))
    clock.now += OLD * SETTLE_S - 0.1
    assert tracker.take() is None
    clock.now += 0.1
    assert take(tracker).old


def test_a_job_has_a_file_until_it_is_released(tracker: FileTracker) -> None:
    tracker.notice(PATH, Change.CLOSED)
    take(tracker)
    work = in_work(tracker)
    assert (state(tracker), tracker.in_work(PATH), tracker.waiting) == ("queued", True, 1)
    work.steps = 1
    assert state(tracker) == "working"
    assert tracker.found(PATH) is None
    tracker.notice(PATH, Change.CLOSED)
    assert tracker.take() is None, "one job at a time"
    tracker.release(PATH, Outcome())
    assert take(tracker).path == PATH, "it changed while it was in work"
    tracker.drop(PATH)
    in_work(tracker)
    tracker.release(PATH, Outcome())
    assert len(tracker) == 0


@pytest.mark.parametrize(
    ("outcome", "again"), [(Outcome(look_again=True), False), (Outcome(), True)]
)
def test_a_released_file_is_looked_at_when_asked_for(
    tracker: FileTracker, outcome: Outcome, again: bool
) -> None:
    in_work(tracker, sure=False)
    tracker.release(PATH, outcome, look_again=again)
    assert not take(tracker).sure


def fail(tracker: FileTracker, clock: Clock, error: int) -> Look | None:
    """A job fails with `error`; the next look, at once when it is due."""
    in_work(tracker)
    tracker.release(PATH, Outcome(retry=True, errno=error, text="no luck"))
    assert (state(tracker), tracker.fault) == ("retry", "no luck")
    clock.now = tracker.next_due()
    return tracker.take()


def test_a_damaged_file_is_tried_five_times_in_thirty_seconds(
    tracker: FileTracker, clock: Clock
) -> None:
    began, tries = clock.now, [0.0]
    while (look := fail(tracker, clock, errno.EIO)) is not None:
        tries.append(clock.now - began)
        if look.last_try:
            break
    assert tries == [0, 2, 6, 14, 30]


def test_changes_do_not_use_up_the_tries_of_a_damaged_file(
    tracker: FileTracker, clock: Clock
) -> None:
    for _ in range(20):
        in_work(tracker)
        tracker.release(PATH, Outcome(retry=True, errno=errno.EIO))
        tracker.notice(PATH, Change.OTHER)
        assert not take(tracker).last_try
    clock.now += 30
    tracker.notice(PATH, Change.OTHER)
    assert take(tracker).last_try


def test_a_changed_file_has_all_its_tries_again(tracker: FileTracker, clock: Clock) -> None:
    for number in range(20):
        in_work(tracker, of=identity(mtime_ns=number))
        tracker.release(PATH, Outcome(retry=True, errno=errno.EIO))
        clock.now += 60
        assert not take(tracker).last_try


def test_other_errors_are_tried_for_as_long_as_they_last(
    tracker: FileTracker, clock: Clock
) -> None:
    waits = []
    for _ in range(30):
        began = clock.now
        look = fail(tracker, clock, errno.ESTALE)
        assert look is not None
        assert not look.last_try
        waits.append(clock.now - began)
    assert waits[:5] == [2, 2, 2, 3, 4.5]
    assert max(waits) == waits[-1] == 60


def test_a_file_that_cannot_be_looked_at_is_tried_again(tracker: FileTracker, clock: Clock) -> None:
    tracker.notice(PATH, Change.OTHER)
    assert tracker.retry(take(tracker), None, errno.EIO, "Input/output error")
    assert (tracker.fault, tracker.next_due()) == ("Input/output error", clock.now + 2)
    clock.now += 2
    tracker.drop(take(tracker).path)
    assert tracker.fault is None


def test_a_finished_file_is_held_until_it_is_old_and_does_not_wait(
    tracker: FileTracker, clock: Clock
) -> None:
    in_work(tracker, sure=False)
    clock.now += 1
    tracker.release(PATH, Outcome(), look_again=True)
    assert tracker.hold(take(tracker), identity(), has_writer=False)
    assert (state(tracker), tracker.waiting) == ("held", 0)
    clock.now += OLD * SETTLE_S - 1.1
    assert tracker.take() is None
    clock.now += 0.1
    assert take(tracker).old


def test_a_finished_file_with_a_writer_is_asked_about_again(
    tracker: FileTracker, clock: Clock
) -> None:
    tracker.notice(PATH, Change.OTHER)
    for _ in range(100):
        assert tracker.hold(take(tracker), identity(), has_writer=True)
        clock.now += SETTLE_S


def test_a_writer_who_is_only_presumed_is_forgotten_in_the_end(
    tracker: FileTracker, clock: Clock
) -> None:
    tracker.notice(PATH, Change.OTHER)
    for _ in range(FORGOTTEN):
        look = take(tracker)
        assert not look.forgotten
        assert tracker.settle(look, Growing(identity(), has_writer=True))
        clock.now += SETTLE_S
    assert take(tracker).forgotten


@contextmanager
def full(tracker: FileTracker) -> Iterator[None]:
    for number in range(4):
        tracker.notice(b"%d" % number, Change.OTHER)
    yield
    assert sum(tracker.counts().values()) == len(tracker)


def test_a_full_tracker_refuses_but_for_what_is_in_work_or_held(tracker: FileTracker) -> None:
    with full(tracker):
        look = tracker.found(PATH)
        assert look is not None
        assert not tracker.settle(look, Growing(identity()))
        assert not tracker.retry(look, identity(), errno.EIO, "")
        in_work(tracker)
        tracker.notice(b"new", Change.CLOSED)
        assert tracker.take_scan()
        assert tracker.hold(Look(b"held", 0), identity(), False)
        assert tracker.counts() == {
            "settling": 4,
            "queued": 1,
            "working": 0,
            "retry": 0,
            "held": 1,
        }


def test_a_scan_means_that_a_new_file_may_have_been_opened_unseen(
    tracker: FileTracker, clock: Clock
) -> None:
    tracker.notice(b"a", Change.MADE)
    clock.now += 1
    assert take(tracker).made
    tracker.notice(b"a", Change.MADE)
    tracker.scan("the system dropped file events")
    clock.now += 1
    assert not take(tracker).made


def test_a_wait_ends_when_a_file_is_due_or_a_scan_is_asked_for() -> None:
    tracker = FileTracker(SETTLE_S)
    tracker.scan("why not")
    tracker.wait(60)
    assert tracker.take_scan() == "why not"
    tracker.notice(PATH, Change.MADE)
    tracker.wait(60)
    while tracker.take() is None:
        tracker.wait(60)
