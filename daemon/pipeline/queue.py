"""Queue of jobs: microphones first, then files, one window at a time.

A worker takes a job, classifies one window and puts the job back behind the others, so a long
recording does not delay other files. While many wait, it takes a few at once. Long jobs wait in a
separate line, which alternates with the line of new jobs, and do not count against the room.

A window of a heavy job takes as long as many others. So heavy jobs never occupy all of several
workers, and after each turn of one, the waiting light jobs get as much time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from itertools import chain

from msgspec import Struct

from daemon.pipeline.job import Job

ROOM = 16  # claimed files waiting per worker; the others wait on disk
AT_ONCE = 4  # most turns that a worker takes together
LONG_AFTER = 12  # windows (a minute of sound) until a job counts as long
MAX_LONG = 128  # and of heavy ones; each holds a file descriptor


class Turn(Struct, frozen=True):
    """A job in a worker's hands for one step."""

    job: Job
    young: bool
    live: bool = False
    heavy: bool = False
    together: int = 1  # turns that a worker takes at once
    began: float = 0.0  # time.monotonic()


class JobQueue:
    """Bounded, fair, shared by the sources and the workers."""

    def __init__(self, workers: int) -> None:
        self._workers, self._room = workers, ROOM * workers
        self._live: deque[Job] = deque()
        self._young: deque[Job] = deque()
        self._long: deque[Job] = deque()
        self._heavy: deque[Job] = deque()
        self._heavy_held = 0  # in workers' hands
        self._owed_s = 0.0  # time that waiting light jobs have before the next heavy turn
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
            long = len(self._long) + len(self._heavy)
            return {"live": len(self._live), "files": len(self._young), "long": long}

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
            for line in (self._young, self._long, self._heavy):
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
            self._work.wait_for(lambda: self._live or self._has_file() or self._closed)
            if self._live:
                return [Turn(self._live.popleft(), False, live=True)]
            if self._closed:
                return []
            if self._is_heavy_next():
                self._heavy_held += 1
                return [Turn(self._heavy.popleft(), False, heavy=True, began=time.monotonic())]
            waiting = len(self._young) + len(self._long)
            share = max(1, min(AT_ONCE, waiting // self._workers))
            lines = [self._next()]
            # Of one folder only: if it hangs, it holds up no other.
            while len(lines) < share and self._first().source_name == lines[0][0].source_name:
                lines.append(self._next())
            began = time.monotonic()
            return [Turn(job, young, together=len(lines), began=began) for job, young in lines]

    def _has_file(self) -> bool:
        return bool(self._young or self._long) or self._is_heavy_next()

    def _is_heavy_next(self) -> bool:
        if not self._heavy or self._heavy_held >= max(1, self._workers - 1):
            return False
        return self._owed_s <= 0 or not (self._young or self._long)

    def _is_long_next(self) -> bool:
        return bool(self._long) and (self._long_next or not self._young)

    def _first(self) -> Job:
        return self._long[0] if self._is_long_next() else self._young[0]

    def _next(self) -> tuple[Job, bool]:
        """The next light job, and whether it is young."""
        from_long = self._is_long_next()
        self._long_next = not self._long_next
        if from_long:
            return self._long.popleft(), False
        self._held += 1
        return self._young.popleft(), True

    def give_back(self, turn: Turn, more: bool) -> None:
        """End a turn taken with `get`; if the job has more to do, put it behind the others."""
        with self._lock:
            self._held -= turn.young
            took_s = (time.monotonic() - turn.began) / turn.together
            if turn.heavy:
                self._heavy_held -= 1
                self._owed_s = took_s
            elif not turn.live:
                self._owed_s -= took_s
            if more and turn.live:
                self._live.append(turn.job)
            elif more:
                self._line_of(turn.job, self._line_after(turn)).append(turn.job)
            if more or turn.heavy:
                self._work.notify()
            if self._has_ample_room():
                self._space.notify_all()

    def _line_after(self, turn: Turn) -> deque[Job]:
        if turn.heavy or (turn.job.heavy and len(self._heavy) < MAX_LONG):
            return self._heavy
        outgrown = turn.job.steps > LONG_AFTER and len(self._long) < MAX_LONG
        return self._long if outgrown or not turn.young else self._young

    def close(self) -> list[Job]:
        """Hand out only live jobs from now on; return the others still queued."""
        with self._lock:
            self._closed = True
            self._work.notify_all()
            self._space.notify_all()
            waiting = (self._young, self._long, self._heavy)
            left = [*chain(*waiting), *chain.from_iterable(self._parked.values())]
            self._parked.clear()
            for line in waiting:
                line.clear()
            return left
