"""Queue of jobs: microphones first, then files, one window at a time.

A worker takes a job, classifies one window and puts the job back behind the others, so a long
recording does not delay other files. While many wait, it takes a few at once. Long jobs wait in a
separate line, which alternates with the line of new jobs, and do not count against the room.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from itertools import chain

from daemon.pipeline.job import Job

ROOM = 16  # claimed files waiting per worker; the others wait on disk
AT_ONCE = 4  # most turns that a worker takes together
LONG_AFTER = 12  # windows (a minute of sound) until a job counts as long
MAX_LONG = 128  # each holds a file descriptor


@dataclass(frozen=True)
class Turn:
    """A job in a worker's hands for one step."""

    job: Job
    young: bool
    live: bool = False


class JobQueue:
    """Bounded, fair, shared by the sources and the workers."""

    def __init__(self, workers: int) -> None:
        self._workers, self._room = workers, ROOM * workers
        self._live: deque[Job] = deque()
        self._young: deque[Job] = deque()
        self._long: deque[Job] = deque()
        self._parked: dict[str, list[Job]] = {}  # of folders whose files cannot be read now
        self._turned_away = 0  # sources waiting for room
        self._held = 0  # short jobs in a worker's hands
        self._long_next = False  # which line is next, if both have jobs
        self._closed = False
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._space = threading.Condition(self._lock)

    def has_room(self) -> bool:
        with self._lock:
            return self._has_room()

    def _has_room(self) -> bool:
        return self._taken() < self._room

    def _taken(self) -> int:
        return len(self._young) + self._held

    @property
    def is_backlog(self) -> bool:
        """Whether more files wait than there is room for."""
        return self._turned_away > 0

    def depths(self) -> dict[str, int]:
        """How many jobs wait in each line."""
        with self._lock:
            lines = {"live": self._live, "files": self._young, "long": self._long}
            return {name: len(line) for name, line in lines.items()}

    def wait_for_room(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until a new job may be put; return whether it may.

        When full, wait until half the queue is free, to avoid one wake-up per job.
        """
        with self._space:
            if not self._has_room():
                self._turned_away += 1
                self._space.wait_for(self._has_ample_room, timeout)
                self._turned_away -= 1
            return self._has_room() or self._closed

    def _has_ample_room(self) -> bool:
        return self._taken() <= self._room // 2 or self._closed

    @property
    def parked(self) -> set[str]:
        """Names of the folders whose jobs no worker is given."""
        with self._lock:
            return set(self._parked)

    def park(self, source: str) -> None:
        """Keep the jobs of a folder back: one of them hangs."""
        with self._lock:
            kept = self._parked.setdefault(source, [])
            for line in (self._young, self._long):
                kept += [job for job in line if job.source_name == source]
                others = [job for job in line if job.source_name != source]
                line.clear()
                line.extend(others)
            self._space.notify_all()

    def unpark(self, source: str) -> None:
        """Hand the jobs of a folder out again."""
        with self._lock:
            self._young.extend(self._parked.pop(source, []))
            self._work.notify_all()

    def put(self, job: Job) -> None:
        with self._lock:
            self._line_of(job, self._young).append(job)
            self._work.notify()

    def _line_of(self, job: Job, line: deque[Job]) -> deque[Job] | list[Job]:
        return self._parked.get(job.source_name or "", line)

    def put_live(self, job: Job) -> None:
        """Put a job before all files. It does not count against the room."""
        with self._lock:
            self._live.append(job)
            self._work.notify()

    def get(self) -> list[Turn]:
        """Wait for the next turns; an empty list when the queue is closed.

        A live job comes alone. Files come several at once if as many are left for each of the other
        workers, so that no worker is idle.
        """
        with self._work:
            self._work.wait_for(lambda: self._live or self._young or self._long or self._closed)
            if self._live:
                return [Turn(self._live.popleft(), young=False, live=True)]
            if self._closed:
                return []
            waiting = len(self._young) + len(self._long)
            share = max(1, min(AT_ONCE, waiting // self._workers))
            turns = [self._next()]
            # Of one folder only: if it hangs, it holds up no other.
            while len(turns) < share and self._first().source_name == turns[0].job.source_name:
                turns.append(self._next())
            return turns

    def _is_long_next(self) -> bool:
        return bool(self._long) and (self._long_next or not self._young)

    def _first(self) -> Job:
        return self._long[0] if self._is_long_next() else self._young[0]

    def _next(self) -> Turn:
        from_long = self._is_long_next()
        self._long_next = not self._long_next
        if from_long:
            return Turn(self._long.popleft(), young=False)
        self._held += 1
        return Turn(self._young.popleft(), young=True)

    def give_back(self, turn: Turn, more: bool) -> None:
        """End a turn taken with `get`; if the job has more to do, put it behind the others."""
        with self._lock:
            self._held -= turn.young
            if more and turn.live:
                self._live.append(turn.job)
                self._work.notify()
            elif more:
                outgrown = turn.job.steps > LONG_AFTER and len(self._long) < MAX_LONG
                line = self._long if outgrown or not turn.young else self._young
                self._line_of(turn.job, line).append(turn.job)
                self._work.notify()
            if self._has_ample_room():
                self._space.notify_all()

    def close(self) -> list[Job]:
        """Hand out only live jobs from now on; return the others still queued."""
        with self._lock:
            self._closed = True
            self._work.notify_all()
            self._space.notify_all()
            left = [*self._young, *self._long, *chain.from_iterable(self._parked.values())]
            self._parked.clear()
            self._young.clear()
            self._long.clear()
            return left
