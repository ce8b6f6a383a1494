"""Work through a plan on Ray Data: a pool of actors takes parts during the listing."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon.cluster.classifying import PartWorker, Summary
from daemon.cluster.connection import ClusterError
from daemon.cluster.job import Job, claim
from daemon.cluster.listing import entries, fail
from daemon.cluster.plan import Plan, partitions
from daemon.cluster.splitting import Cut
from daemon.commands.batch.finding import left_out, no_files
from daemon.errors import DaemonError, SettingsError
from daemon.sources.folder.recordings import Recordings
from tinyast.errors import TinyASTError

if TYPE_CHECKING:
    from ray.data import Dataset

WAVE = 4  # parts for each actor, at least, before the pool starts: so long is a wave
RETRIES = 3  # of a part whose process or machine dies


class Lister(threading.Thread):
    """Lists the sources and writes the plan, part by part."""

    def __init__(self, job: Job, cut: Cut) -> None:
        """Reads the plan that is there. Raises StorageError."""
        super().__init__(name="listing")
        folder = job.identity.folder
        self._job, self._cut = job, cut
        self._plan = Plan(job.place, partitions(job.identity.partition, folder))
        self._changed = threading.Condition()
        self._stopped = False
        self.walk = Recordings(folder, fail)
        self.is_done = False
        self.is_whole = False  # all sources are in the plan
        self.error: DaemonError | None = None

    @property
    def files(self) -> int:
        """The number of files listed so far."""
        return self._plan.files

    def run(self) -> None:
        try:
            for found in entries(self._job.identity.sources, self.walk):
                for entry in self._cut.slices(found, self._job.address(found.path)):
                    before = self._plan.parts
                    self._plan.add(entry)
                    if self._plan.parts > before:
                        self._wake()
                if self._stopped:
                    return
            self._plan.finish()
            self.is_whole = True
        except DaemonError as error:
            self.error = error
        finally:
            self.is_done = True
            self._wake()

    @property
    def left_out(self) -> tuple[str, ...]:
        """Sentences about the files in folders that are not read, when it is done."""
        return tuple(left_out(self.walk)) if self.is_done else ()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def wait(self, least: int) -> int:
        """The number of parts planned, when it is `least` or final."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_done or self._plan.parts >= least)
        return self._plan.parts

    def stop(self) -> None:
        """End the listing early."""
        self._stopped = True
        self.join()


class Report(msgspec.Struct, frozen=True):
    """A part that is done, and the state of the listing."""

    summary: Summary
    listed: int  # files
    is_all: bool
    is_again: bool  # an earlier call began this job
    left_out: tuple[str, ...]  # sentences about files that are not read, once all are listed


def work(job: Job, cut: Cut, actors: int, overwrite: bool) -> Iterator[Report]:
    """Make all parts. Raises DaemonError; parts that are done stay done.

    It is a SettingsError if the sources hold no file to classify.
    """
    is_again = claim(job, overwrite)
    lister = Lister(job, cut)
    lister.start()
    taken, lost = 0, 0
    try:
        while (planned := lister.wait(taken + WAVE * actors)) > taken:
            seen = 0
            for summary in _wave(job, range(taken, planned), actors):
                seen += 1
                yield Report(summary, lister.files, lister.is_done, is_again, lister.left_out)
            lost += planned - taken - seen
            taken = planned
    finally:
        lister.stop()
    if lister.error is not None:
        raise lister.error
    if not lister.is_whole:
        raise ClusterError("the listing failed; run the same command to resume")
    if not lister.files:
        raise SettingsError(no_files(job.identity.sources, lister.walk))
    if lost:
        raise ClusterError(
            f"{lost} of {taken} parts are missing: their processes died {RETRIES} times in a row "
            "(too little memory, or a file that crashes its decoder); the same command tries again"
        )


class Coordinator:
    """Does `work` in a process of the cluster, for a caller elsewhere: Ray Data needs that."""

    def __init__(self, job: bytes, cut: Cut, actors: int, overwrite: bool) -> None:
        self._reports = work(msgspec.json.decode(job, type=Job), cut, actors, overwrite)

    def next(self) -> Report | DaemonError | None:
        """The next report; an error, or None, is the last answer."""
        try:
            return next(self._reports, None)
        except DaemonError as error:
            return error


def work_there(job: Job, cut: Cut, actors: int, overwrite: bool) -> Iterator[Report]:
    """As `work`, through Ray's client: sources and output are as the cluster sees them."""
    import ray

    try:
        # It dies with this process.
        coordinator = (
            ray.remote(Coordinator)
            .options(num_cpus=0)
            .remote(msgspec.json.encode(job), cut, actors, overwrite)
        )
        while (report := ray.get(coordinator.next.remote())) is not None:
            if isinstance(report, DaemonError):
                raise report
            yield report
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise ClusterError(f"the cluster failed: {_cause(error)}") from error


class Actor:
    """A process of the pool. Errors meant for people travel as text."""

    def __init__(self, job: bytes) -> None:
        self._worker: PartWorker | None = None
        self._fault = ""
        try:
            self._worker = PartWorker(msgspec.json.decode(job, type=Job))
        except (DaemonError, TinyASTError) as error:
            self._fault = str(error)

    def __call__(self, parts: dict[str, NDArray[np.int64]]) -> dict[str, list[bytes]]:
        made: list[bytes] = []
        try:
            for number in parts["part"].tolist():
                if self._worker is not None:
                    made.append(msgspec.json.encode(self._worker.run(number)))
        except DaemonError as error:
            self._fault = str(error)
        faults = [self._fault.encode()] * (len(parts["part"]) - len(made))
        return {"summary": made + [b""] * len(faults), "fault": [b""] * len(made) + faults}


def _wave(job: Job, numbers: range, actors: int) -> Iterator[Summary]:
    """The summaries of these parts as they are made, in any order. Raises ClusterError."""
    import ray

    try:
        for row in _dataset(job, numbers, actors).iter_rows():
            if row["fault"]:
                raise ClusterError(row["fault"].decode())
            yield msgspec.json.decode(row["summary"], type=Summary)
    except ray.exceptions.RayError as error:
        raise ClusterError(f"the cluster failed: {_cause(error)}") from error


def _dataset(job: Job, numbers: range, actors: int) -> Dataset:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # parts that are lost are counted
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    parts = ray.data.from_items(
        [{"part": number} for number in numbers], override_num_blocks=len(numbers)
    )
    with warnings.catch_warnings():
        # Ray 2.60 announces that the number of retries, without end by default, will be no option.
        warnings.simplefilter("ignore", DeprecationWarning)
        return parts.map_batches(
            Actor,
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=min(actors, len(numbers))),
            fn_constructor_args=(msgspec.json.encode(job),),
            num_cpus=1,
            max_task_retries=RETRIES,
        )


def _cause(error: BaseException) -> str:
    if "No module named 'daemon" in str(error):
        return "a machine of it has no tinyast: pip install 'tinyast[cluster]' on each"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else repr(error)
