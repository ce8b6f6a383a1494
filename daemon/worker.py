"""A worker: one window at a time, of whichever source is next."""

from __future__ import annotations

import threading

from daemon.jobs import JobQueue
from daemon.pulse import Pulse
from daemon.tally import Tally

STALL_S = 120.0  # for one step: a window, and perhaps the digest of a large file


class Worker(threading.Thread):
    """Takes turns from `jobs` until they are closed."""

    def __init__(self, number: int, jobs: JobQueue, tally: Tally) -> None:
        super().__init__(name=f"worker-{number}")
        self._jobs, self._tally = jobs, tally
        self.pulse = Pulse(STALL_S)

    def run(self) -> None:
        while (turn := self._jobs.get()) is not None:
            self.pulse.beat()
            with self._tally.stage("step"):
                more = turn.job.step()
            self.pulse.rest()
            self._jobs.give_back(turn, more)
