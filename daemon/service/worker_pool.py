"""The workers, and others in place of those that a file system holds.

A read from a mount without its server may not return for hours, and no other thread can end it. The
pool then keeps the files of that folder from the other workers, and starts a worker in place of the
one that hangs. When the call returns, that worker ends, and the folder's files continue.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress

from daemon.monitoring.metrics import Tally
from daemon.monitoring.service_thread import Running
from daemon.pipeline.job import JobContext
from daemon.pipeline.queue import JobQueue
from daemon.pipeline.worker import Worker

log = logging.getLogger(__name__)

HUNG_S = 4.0  # in one step of a file without any computing
MOST_BUSY_S = 30.0  # processor time of one step; a heavy window takes some 2 s


class WorkerPool:
    """`count` workers that work on `jobs`. `watch` belongs to one thread."""

    def __init__(self, count: int, jobs: JobQueue, context: JobContext, tally: Tally) -> None:
        self._jobs, self._context, self._tally = jobs, context, tally
        self._next = count + 1  # slot of the next mark of crashes; the inbox has one too
        self.workers = [Worker(number, jobs, context, tally) for number in range(count)]
        self._hung: list[Worker] = []

    def running(self, on_fault: Callable[[BaseException], None]) -> Running:
        """The block in which the workers run."""
        self._running = Running(self.workers, on_fault)
        return self._running

    @property
    def responsible(self) -> list[Worker]:
        """Workers that owe progress: those that hang in a system call do not."""
        return [*self.workers, *(each for each in self._hung if each.busy_s > MOST_BUSY_S)]

    def watch(self) -> None:
        """Replace workers that hang, and release the folders of those that hang no more."""
        now = time.monotonic()
        for number, worker in enumerate(self.workers):
            source, since = worker.on or ("", now)
            waits = now - max(since, worker.computed_at(now)) > HUNG_S
            if (waits or worker.busy_s > MOST_BUSY_S) and worker.is_alive():
                self._replace(number, worker, source)
        self._hung = [each for each in self._hung if each.is_alive()]
        still = {each.replaced_on for each in self._hung}
        for source in self._jobs.parked - still:
            log.info("files of %s can be read again", source)
            self._jobs.unpark(str(source))

    def _replace(self, number: int, worker: Worker, source: str) -> None:
        new = Worker(self._next, self._jobs, self._context, self._tally)
        with suppress(RuntimeError):  # no thread can be started now: the next call tries again
            self._running.add(new)
            self._next += 1
            log.error("reading a file of %s hangs; another worker takes over", source)
            self._jobs.park(source)
            worker.replaced_on = source
            if self._context.marks is not None:
                self._context.marks.clear(worker.number)  # a stop now is no crash of that file
            self._hung.append(worker)
            self.workers[number] = new
