"""A worker: the next window, of whichever source is due, or a few of them where many wait.

While the model runs, Python's code and objects fall out of the processor's caches, and to fetch
them again takes longer than to run them. So what several windows need before the model is done for
all of them first, and what they need after it last.
"""

from __future__ import annotations

import numpy as np

from daemon.monitoring.metrics import Tally
from daemon.monitoring.service_thread import ServiceThread
from daemon.pipeline.job import Step
from daemon.pipeline.queue import JobQueue, Turn
from tinyast.arrays import Float
from tinyast.inference.engine import Engine

STALL_S = 120.0  # for a few steps: windows, and perhaps digests of large files
TOGETHER = 2  # pictures in one call of the model: with more it needs more memory, and is no faster


class Worker(ServiceThread):
    """Takes turns from `jobs` until they are closed."""

    def __init__(self, number: int, jobs: JobQueue, engine: Engine, tally: Tally) -> None:
        super().__init__(f"worker-{number}", STALL_S)
        self._jobs, self._engine, self._tally = jobs, engine, tally

    def work(self) -> None:
        while turns := self._jobs.get():
            self.liveness.progress()
            with self._tally.stage("step"):
                self._work(turns)
            self.liveness.idle()

    def _work(self, turns: list[Turn]) -> None:
        """One step of each."""
        asking: list[tuple[Turn, Step]] = []
        pictures: list[Float] = []
        for turn in turns:
            step = turn.job.step()
            try:
                pictures.append(next(step))
            except StopIteration as end:
                self._jobs.give_back(turn, end.value)
            else:
                asking.append((turn, step))
        for (turn, step), logits in zip(asking, self._classify(pictures), strict=True):
            try:
                step.send(logits)
            except StopIteration as end:
                self._jobs.give_back(turn, end.value)

    def _classify(self, pictures: list[Float]) -> list[Float]:
        """The logits of each picture, (mel bands, frames): (labels,)."""
        answers: list[Float] = []
        for start in range(0, len(pictures), TOGETHER):
            batch = np.stack(pictures[start : start + TOGETHER])
            with self._tally.stage("model"):
                answers.extend(self._engine.logits(batch))
        return answers
