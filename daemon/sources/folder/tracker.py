"""The state of every file that a folder source knows and has not finished.

Any thread may report a change or return a file. The folder's thread takes the files that are due
and reports its findings. One heap holds all due times, so no file needs a timer.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from enum import Enum

from msgspec import Struct

from daemon.errors import DAMAGED
from daemon.journal.ledger import Identity
from daemon.pipeline.job import Job, Outcome
from daemon.sources.folder.changes import Change
from daemon.sources.folder.readiness import Growing

MOST_FILES = 10_000  # known at once, not counting those in work; a scan finds the others again
MADE_WAIT_S = 0.05  # for a new file's writer to close it, unless it is a hard link
LEAST_WAIT_S = 0.02  # between two checks of a file without reported changes
# A file that may still have a writer is moved or deleted, and an empty one ends, only when it has
# been unchanged for this many times `settle`.
OLD = 10
# A file that was modified, and perhaps not by a writer who has it open, is presumed to have one
# until it has been unchanged for this many times `settle`.
FORGOTTEN = 60
FIRST_RETRY_S, LONGEST_RETRY_S = 2.0, 60.0
# A damaged file is tried at 0, 2, 6, 14 and 30 s.
MOST_TRIES, GIVE_UP_AFTER_S = 5, 30.0


class State(Enum):
    """The state of a file."""

    SETTLING = "settling"  # to be checked, now or when it may have settled
    QUEUED = "queued"  # whole; its job waits for a worker
    WORKING = "working"  # a worker has begun it
    RETRY = "retry"  # the system would not let it be read
    HELD = "held"  # finished, but not moved or deleted yet, because it may have a writer


class Look(Struct, frozen=True):
    """A file that is due, with the known facts about it."""

    path: bytes
    noticed: float  # clock time of the change that asks for this look
    closed: bool = False  # its writer closed it, or it was moved in
    made: bool = False  # it was seen to appear
    settled: Identity | None = None  # its identity, if unchanged for `settle`
    old: bool = False  # unchanged for `OLD` times as long
    forgotten: bool = False  # unchanged for `FORGOTTEN` times as long
    sure: bool = False  # it had no writer when it was claimed
    last_try: bool = False  # one more error of its medium is the last


class _File(Struct):
    """The tracker's memory of one file."""

    due: float = math.inf  # clock time of the next look
    state: State = State.SETTLING
    identity: Identity | None = None  # at the last look; None: it could not be looked at
    since: float = 0.0  # clock time since when it has had this identity
    changed: float | None = None  # clock time of the newest change that was not looked at yet
    closed: bool = False
    just_closed: bool = False  # since the last look
    made: bool = False
    sure: bool = False
    again: bool = False  # it changed while it was in work
    job: Job | None = None
    tries: int = 0  # that failed in a row
    damaged: int = 0  # of these, those that its medium may be the reason for
    first_failed: float = 0.0
    fault: str = ""


class FileTracker:
    """Files of one folder by their path: settling, queued, working, retry or held."""

    def __init__(
        self,
        settle: float,
        most: int = MOST_FILES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settle, self._most, self._clock = settle, most, clock
        self._files: dict[bytes, _File] = {}
        self._due: list[tuple[float, int, bytes]] = []
        self._order = itertools.count()  # files due at the same time are looked at in this order
        self._count: Counter[State] = Counter()
        self._scan: str | None = None
        self._woken = threading.Condition()

    # -- any thread ----------------------------------------------------------------------------

    def notice(self, path: bytes, change: Change) -> None:
        """Make `path` due: soon if it was just made, else now."""
        now = self._clock()
        with self._woken:
            file = self._files.get(path)
            if file is None:
                if not self._has_room():
                    self._scan = self._scan or "more changes than can be remembered"
                    self._woken.notify()
                    return
                file = self._add(path, now)
            file.changed = now
            file.made |= change is Change.MADE
            if change is Change.CLOSED:
                file.closed = file.just_closed = True
            if file.job is not None:
                file.again = True
            else:
                self._at(path, file, now + MADE_WAIT_S if change is Change.MADE else now)
            self._woken.notify()

    def scan(self, reason: str) -> None:
        """Ask for a scan of the whole folder. Changes may have been lost."""
        with self._woken:
            self._scan = reason
            for file in self._files.values():
                file.made = False  # its writer may have opened it unseen
            self._woken.notify()

    def release(self, path: bytes, outcome: Outcome, look_again: bool = False) -> None:
        """Take back a file whose job has ended. `look_again`: check it again in any case."""
        with self._woken:
            file = self._files.get(path)
            if file is None or file.job is None:
                return
            file.job = None
            self._become(file, State.SETTLING)
            if outcome.retry:
                self._fail(path, file, outcome.errno, outcome.text)
            elif file.again or outcome.look_again or look_again:
                file.tries = file.damaged = 0
                self._at(path, file, self._clock())
            else:
                self._remove(path, file)
            file.again = False
            self._woken.notify()

    def wake(self) -> None:
        """End a `wait` now."""
        with self._woken:
            self._woken.notify()

    def counts(self) -> dict[str, int]:
        """How many files there are in each state."""
        with self._woken:
            found = Counter(_shown(file) for file in self._files.values())
        return {state.value: found[state] for state in State}

    @property
    def waiting(self) -> int:
        """Files without an end state."""
        with self._woken:
            return len(self._files) - self._count[State.HELD]

    @property
    def fault(self) -> str | None:
        """Why files are retried, if any are: the reason of one of them."""
        with self._woken:
            faults = (file.fault for file in self._files.values() if file.state is State.RETRY)
            return next(faults, None)

    def in_work(self, path: bytes) -> bool:
        """Whether a job has the file."""
        with self._woken:
            file = self._files.get(path)
            return file is not None and file.job is not None

    def __len__(self) -> int:
        return len(self._files)

    # -- the thread that owns the folder -------------------------------------------------------

    def wait(self, timeout: float) -> None:
        """Return when a file is due, a scan is asked for, or after `timeout` seconds."""
        with self._woken:
            if self._scan is None:
                left = min(timeout, self._next_due() - self._clock())
                if left > 0:
                    self._woken.wait(left)

    def take_scan(self) -> str | None:
        """The reason of a requested scan; None without a request."""
        with self._woken:
            reason, self._scan = self._scan, None
            return reason

    def take(self) -> Look | None:
        """The file that has been due for longest. It stays known until `drop`."""
        now = self._clock()
        with self._woken:
            if self._next_due() > now:
                return None
            _, _, path = heapq.heappop(self._due)
            file = self._files[path]
            file.due = math.inf
            return self._look(path, file, now)

    def found(self, path: bytes) -> Look | None:
        """A look at a file that a scan found; None if its turn comes anyway."""
        now = self._clock()
        with self._woken:
            if path in self._files:
                if (file := self._files[path]).job is not None:
                    file.again = True
                return None
            return Look(path, noticed=now)

    def settle(self, look: Look, growing: Growing) -> bool:
        """Check again when the file may be whole. False if there is no room to remember it."""
        with self._woken:
            file = self._known(look.path)
            if file is None:
                return False
            now = self._clock()
            same = self._unchanged(file, growing.identity, now)
            self._become(file, State.SETTLING)
            file.tries = file.damaged = 0
            if growing.has_writer:
                due = now + self._settle
            else:
                wait = self._settle * (OLD if growing.empty else 1)
                due = max(file.since + wait, now + LEAST_WAIT_S)
            if file.just_closed or (file.closed and same):
                # The system reports a close just before it lets go of the writer, and may pause
                # between the two: look again soon, and then less and less often.
                due = min(due, now + max(now - file.since, LEAST_WAIT_S))
            file.just_closed = False
            self._at(look.path, file, due)
            return True

    def claim(self, path: bytes, identity: Identity, sure: bool, job: Job) -> None:
        """Note that `job` has the file. `sure`: it had no writer any more."""
        now = self._clock()
        with self._woken:
            file = self._files.get(path) or self._add(path, now)
            self._unchanged(file, identity, now)
            file.again = file.due < math.inf  # it changed during the look
            file.due = math.inf
            file.job, file.sure, file.just_closed = job, sure, False
            self._become(file, State.QUEUED)

    def hold(self, look: Look, identity: Identity, has_writer: bool) -> bool:
        """Leave a finished file in place for now. False if there is no room to remember it."""
        with self._woken:
            if self._count[State.HELD] >= self._most:
                return False
            now = self._clock()
            file = self._files.get(look.path) or self._add(look.path, now)
            self._unchanged(file, identity, now)
            self._become(file, State.HELD)
            if has_writer:
                due = now + self._settle
            else:
                due = max(file.since + OLD * self._settle, now + LEAST_WAIT_S)
            self._at(look.path, file, due)
            return True

    def retry(self, look: Look, identity: Identity | None, error: int, text: str) -> bool:
        """Check again later: the system refused. False if there is no room to remember it."""
        with self._woken:
            file = self._known(look.path)
            if file is None:
                return False
            if identity is not None:
                self._unchanged(file, identity, self._clock())
            self._fail(look.path, file, error, text)
            return True

    def drop(self, path: bytes) -> None:
        """Forget a file that needs no work, unless it changed during the check."""
        with self._woken:
            file = self._files.get(path)
            if file is not None and file.job is None and file.due == math.inf:
                self._remove(path, file)

    def next_due(self) -> float:
        """Clock time at which the next file is due; infinite without one."""
        with self._woken:
            return self._next_due()

    # -- under the lock ------------------------------------------------------------------------

    def _next_due(self) -> float:
        while self._due:
            due, _, path = self._due[0]
            file = self._files.get(path)
            if file is not None and file.due == due:
                return due
            heapq.heappop(self._due)  # replaced by another time
        return math.inf

    def _at(self, path: bytes, file: _File, due: float) -> None:
        """Make a file due at `due`, unless it is due earlier."""
        if due < file.due:
            file.due = due
            heapq.heappush(self._due, (due, next(self._order), path))

    def _has_room(self) -> bool:
        elsewhere = self._count[State.QUEUED] + self._count[State.HELD]
        return len(self._files) - elsewhere < self._most

    def _add(self, path: bytes, now: float) -> _File:
        file = self._files[path] = _File(since=now)
        self._count[file.state] += 1
        return file

    def _remove(self, path: bytes, file: _File) -> None:
        self._count[file.state] -= 1
        del self._files[path]

    def _become(self, file: _File, state: State) -> None:
        self._count[file.state] -= 1
        self._count[state] += 1
        file.state = state

    def _known(self, path: bytes) -> _File | None:
        file = self._files.get(path)
        if file is None and self._has_room():
            file = self._add(path, self._clock())
        return file

    def _unchanged(self, file: _File, identity: Identity, now: float) -> bool:
        if file.identity is not None and file.identity.same_times(identity):
            file.identity = identity
            return True
        file.identity, file.since = identity, now
        file.tries = file.damaged = 0
        return False

    def _fail(self, path: bytes, file: _File, error: int, text: str) -> None:
        now = self._clock()
        if file.tries == 0:
            file.first_failed = now
        file.tries += 1
        file.damaged += error in DAMAGED
        file.fault = text
        self._become(file, State.RETRY)
        if error in DAMAGED:
            wait = FIRST_RETRY_S * 2.0 ** min(file.tries - 1, MOST_TRIES - 2)
        else:  # when the system works again, the wait is half as long as it did not at most
            wait = max(FIRST_RETRY_S, min((now - file.first_failed) / 2, LONGEST_RETRY_S))
        self._at(path, file, now + wait)

    def _look(self, path: bytes, file: _File, now: float) -> Look:
        changed, file.changed = file.changed, None
        known = file.identity is not None
        return Look(
            path,
            noticed=now if changed is None else changed,
            closed=file.closed,
            made=file.made,
            settled=file.identity if known and now >= file.since + self._settle else None,
            old=known and now >= file.since + OLD * self._settle,
            forgotten=known and now >= file.since + FORGOTTEN * self._settle,
            sure=file.sure,
            last_try=(
                file.damaged >= MOST_TRIES - 1 and now >= file.first_failed + GIVE_UP_AFTER_S
            ),
        )


def _shown(file: _File) -> State:
    """The state to show: a claimed file is queued until a worker begins it."""
    return State.WORKING if file.job is not None and file.job.steps else file.state
