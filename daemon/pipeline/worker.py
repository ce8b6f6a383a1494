"""A worker: classifies the next window of the source whose turn it is, or several if many wait.

While the model runs, Python's code and objects fall out of the processor's caches, and to fetch
them again takes longer than to run them. So a worker prepares all its windows before the model
runs, and finishes all of them after it.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from daemon.monitoring.metrics import Tally
from daemon.monitoring.service_thread import ServiceThread
from daemon.pipeline.job import Job, JobContext
from daemon.pipeline.prediction import ask
from daemon.pipeline.queue import JobQueue, Turn
from tinyast.arrays import Float
from tinyast.classifier import Classifier

STALL_S = 120.0  # for a few steps: windows, and perhaps digests of large files
LITTLE_S = 0.001  # of processor time, less than the system rounds to between two looks
TOGETHER = 2  # pictures in one call of the model: with more it needs more memory, and is no faster


class Worker(ServiceThread):
    """Takes turns from `jobs` until they are closed."""

    def __init__(self, number: int, jobs: JobQueue, context: JobContext, tally: Tally) -> None:
        super().__init__(f"worker-{number}", STALL_S)
        self.number, self._jobs, self._context, self._tally = number, jobs, context, tally
        # Of the file that it reads: the source, and time.monotonic() of the beginning.
        self.on: tuple[str, float] | None = None
        self._computed = 0.0, 0.0  # processor time, and time.monotonic() when that last grew
        # Processor time, in seconds, and time.monotonic() at the beginning of its turns.
        self._used_before, self._began = 0.0, 0.0
        self.replaced_on: str | None = None  # the source by which it hung, once it is replaced

    def stop(self) -> None:
        """Ask the worker to end, after which no job is handed out."""
        super().stop()
        for job in self._jobs.close():
            job.close()

    @property
    def busy_s(self) -> float:
        """Processor time, in seconds, of the turns that it works on; 0 if it has none."""
        used = self._used_s() if self.liveness.busy_s else None
        # A clock that is set under faketime(1) sets this one too: time that passed bounds it.
        passed = time.monotonic() - self._began
        return 0.0 if used is None else min(used - self._used_before, passed)

    def computed_at(self, now: float) -> float:
        """When, by time.monotonic(), a call of this method last found that it had computed."""
        used = self._used_s()
        if used is not None and used > self._computed[0] + LITTLE_S:
            self._computed = used, now
        return self._computed[1]

    def _used_s(self) -> float | None:
        """Processor time so far; None if it does not run."""
        if (ident := self._thread.ident) is None or not self.is_alive():
            return None
        return time.clock_gettime(time.pthread_getcpuclockid(ident))

    def work(self) -> None:
        self._used_before = time.thread_time()
        while self.replaced_on is None and (turns := self._jobs.get()):
            self._used_before, self._began = time.thread_time(), time.monotonic()
            self.liveness.progress()
            with self._tally.stage("step"):
                self._work(turns)
            self.liveness.idle()

    def _work(self, turns: list[Turn]) -> None:
        """One step of each."""
        waiting: list[Turn] = []
        pictures: list[Float] = []
        for turn in turns:
            with self._in_hand(turn.job):
                picture = turn.job.prepare()
            self.on = None
            if picture is None:
                self._finish(turn, None)
            else:
                waiting.append(turn)
                pictures.append(picture)
        models = [turn.job.classifier for turn in waiting]
        for turn, answer in zip(waiting, self._classify(pictures, models), strict=True):
            self._finish(turn, *answer)

    def _finish(self, turn: Turn, logits: Float | None, speech: float = 0.0) -> None:
        with self._in_hand(turn.job):
            results = turn.job.finish(logits, speech)
        self.on = None
        for delivery in results:
            self._context.deliver(delivery)
        self._jobs.give_back(turn, turn.job.more())

    def _in_hand(self, job: Job) -> AbstractContextManager[None]:
        """Mark the job as the one to blame if the daemon crashes or hangs meanwhile."""
        if job.source_name is not None:
            self.on = job.source_name, time.monotonic()
        marks, work = self._context.marks, job.work
        if marks is None or work is None:
            return nullcontext()
        return marks.working(self.number, *work)

    def _classify(
        self, pictures: list[Float], models: list[Classifier]
    ) -> list[tuple[Float, float]]:
        """Of each picture, (mel bands, frames), by its model: the logits, (labels,), and the score
        of speech.
        """
        answers: list[tuple[Float, float]] = []
        while len(answers) < len(pictures):
            start = len(answers)
            end = start + 1
            while end < min(start + TOGETHER, len(pictures)) and models[end] is models[start]:
                end += 1
            batch = np.stack(pictures[start:end])
            with self._tally.stage("model"):
                answers.extend(ask(models[start], batch, self._context.rules))
        return answers
