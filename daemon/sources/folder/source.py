"""A watched folder: finds every file that is complete and hands out each version once.

One thread owns it. Changes name paths to check; a scan at the start, after lost changes and from
time to time is the truth. Files wait on disk: the source claims only as many as the workers have
room for.

Every call that may hang on a dead network mount or a broken disk is made by this thread or by a
worker, so that it cannot block other sources, heartbeats or the watchdog.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from msgspec.structs import replace

from daemon.errors import GONE
from daemon.journal.ledger import Identity, LedgerRow, claim, is_known
from daemon.journal.reader import READ_ERRORS, Written, open_reader
from daemon.journal.records import Delivery, Record
from daemon.monitoring.service_thread import ServiceThread
from daemon.pipeline.file_job import FileJob
from daemon.pipeline.job import JobContext, Outcome
from daemon.pipeline.queue import JobQueue
from daemon.protocol.messages import Error, file_end, file_source
from daemon.protocol.states import FolderState
from daemon.settings.schema import Folder, JournalLimits
from daemon.sources.folder.changes import Change
from daemon.sources.folder.disposal import Disposal
from daemon.sources.folder.forgetting import LedgerSweep
from daemon.sources.folder.readiness import (
    Evidence,
    Faulty,
    Growing,
    Ignored,
    Whole,
    look,
    may_have_writer,
)
from daemon.sources.folder.root import CHECK_S, Root
from daemon.sources.folder.scan import Scope, Walk
from daemon.sources.folder.staying import Staying
from daemon.sources.folder.tracker import FileTracker, Look

log = logging.getLogger(__name__)

BLOCKED_S = 10.0  # for one step; a system call that takes longer hangs
SLICE = 200  # files of a scan in one query to the ledger: some 2 ms
# Until the next scan if a directory could not be listed; twice as long each time.
FIRST_FAULTY_SCAN_S, LONGEST_FAULTY_SCAN_S = 2.0, 30.0
STAYS_SCAN_S = 60.0  # until the next scan while finished files cannot be moved or deleted


class FolderSource(ServiceThread):
    """One `[[folder]]`. `say` publishes a status; claimed files go to `jobs`."""

    def __init__(
        self,
        folder: Folder,
        state: Path,
        jobs: JobQueue,
        context: JobContext,
        say: Callable[..., None],
        limits: JournalLimits,
    ) -> None:
        super().__init__(f"folder-{folder.name}", BLOCKED_S)
        self.folder = folder
        self.root = os.fsencode(folder.path)
        self._state_dir, self._jobs, self._context, self._say = state, jobs, context, say
        self.source = file_source(folder.name, self.root)
        self._tracker = FileTracker(folder.settle)
        self._disposal = Disposal(folder, self._go_on)
        self._said_blocked = False
        self._staying = Staying(lambda reason: say("source_degraded", reason, self.source))
        self._scope = Scope(self.root, folder, self._disposal, os.fsencode(os.path.realpath(state)))
        self._root = Root(folder, self._tracker, say)
        self._walk: Walk | None = None
        self._unfinished: Iterator[bytes] = iter(())  # files of the walk to check
        self._walk_at = 0.0  # time.monotonic() of the next regular walk
        self._ignored: Counter[str] = Counter()
        self._scan_fault: str | None = None
        self._faulty_scan_s = FIRST_FAULTY_SCAN_S
        self._limits = limits
        self.ready = threading.Event()  # the folder is watched, or lost

    # -- any thread ----------------------------------------------------------------------------

    def look(self, path: bytes) -> None:
        """Request a check of one path."""
        self._tracker.notice(path, Change.OTHER)

    def stop(self) -> None:
        super().stop()
        self._tracker.wake()

    @property
    def blocked(self) -> bool:
        """Whether a system call on this folder hangs, as on a network mount without its server."""
        return self.liveness.stalled or self.folder.name in self._jobs.parked

    def news_of_blocking(self) -> str | None:
        """What to publish if it has become blocked, or is so no longer; for one thread."""
        if self.blocked == self._said_blocked:
            return None
        self._said_blocked = not self._said_blocked
        path = self.folder.path
        if self._said_blocked:
            return f"folder {path} does not answer: a system call on it hangs"
        return f"folder {path} answers again"

    @property
    def state(self) -> str:
        """starting, watching, polling, lost or blocked."""
        return "blocked" if self.blocked else self._root.state

    def snapshot(self) -> FolderState:
        """The state of this source, for `status` and heartbeats."""
        return FolderState(
            name=self.folder.name,
            path=self.folder.path,
            state=self.state,
            degraded=self._root.degraded or self._staying.reason,
            scanning=self._walk is not None,
            waiting=self.waiting,
            ignored=dict(self._ignored),
            files=self._tracker.counts(),
            fault=self._scan_fault or self._tracker.fault,
            recursive=self.folder.recursive,
            suffixes=list(self.folder.looks_at()),
        )

    @property
    def waiting(self) -> int:
        """Known files without an end state; during a scan there may be more on disk."""
        return self._tracker.waiting

    def _release(self, path: bytes, outcome: Outcome) -> None:
        """Take a file back from its job; called from the delivery thread or a worker."""
        self._tracker.release(path, outcome, look_again=self.folder.after != "keep")

    # -- this thread ---------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Called while a large file is copied: end that if the daemon stops."""
        self.liveness.progress()
        if self._halt.is_set():
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))

    def work(self) -> None:
        reader = open_reader(self._state_dir, self._halt)
        if reader is None:
            return
        self._reader = reader
        sweep = LedgerSweep(self._reader, self.root, self._limits)
        try:
            while not self._halt.is_set():
                self.liveness.progress()
                self._root.check()
                self.ready.set()
                if self.folder.name in self._jobs.parked:
                    self._halt.wait(CHECK_S)
                    continue
                if self._root.is_there:
                    with suppress(*READ_ERRORS):  # the next step asks again
                        self._forget(sweep.step())
                if (refused := self._staying.to_try()) is not None:
                    self.look(refused)
                if self._jobs.wait_for_room(CHECK_S) and not self._advance():
                    self._tracker.wait(self._idle_time())
        finally:
            self._root.close()
            self._reader.close()

    def _forget(self, gone: list[Written]) -> None:
        """Delete ledger rows of files that are gone, unless the folder itself is."""
        if gone and self._root.check(now=True):
            self._context.deliver(Delivery(Record(gone=[(row.path, row.at) for row in gone])))

    def _advance(self) -> bool:
        """Check the file that is due and the next one of a scan; return whether there was one."""
        due = self._tracker.take()
        if due is not None:
            self._attempt(due, self._ignored)
        self._begin_walk()
        walking = self._walk is not None and self._jobs.has_room()
        if walking:
            self._step_walk()
        return due is not None or walking

    def _idle_time(self) -> float:
        until = self._root.check_due
        if self._root.is_there:
            until = min(until, self._walk_at)
        return max(0.0, until - time.monotonic())

    # Scans

    def _begin_walk(self) -> None:
        if not self._root.is_there:
            self._walk, self._unfinished = None, iter(())
            return
        if self._walk is not None:
            return
        reason = self._tracker.take_scan()
        if reason is None and time.monotonic() < self._walk_at:
            return
        log.debug("scanning %s: %s", self.folder.path, reason or "it is time")
        self._staying.scan_begins(self._disposal.check())
        self._walk = Walk(self._scope)
        self._unfinished = self._select(iter(self._walk))

    def _step_walk(self) -> None:
        assert self._walk is not None
        try:
            path = next(self._unfinished, None)
        except READ_ERRORS as error:
            self._walk.fault, path = str(error), None
        if path is not None:
            found = self._tracker.found(path)
            if found is not None:
                self._attempt(found, self._walk.ignored)
            return
        self._ignored, self._scan_fault = self._walk.ignored, self._walk.fault
        self._walk = None
        every = self._root.scan_every
        if self._scan_fault is None:
            self._faulty_scan_s = FIRST_FAULTY_SCAN_S
            self._staying.scan_ended()
        else:
            every = min(every, self._faulty_scan_s)
            self._faulty_scan_s = min(2 * self._faulty_scan_s, LONGEST_FAULTY_SCAN_S)
        if self._staying.reason is not None:
            every = min(every, STAYS_SCAN_S)
        self._walk_at = time.monotonic() + every
        if self._scan_fault is None:
            with suppress(*READ_ERRORS):  # the next scan ends them
                self._end_vanished()

    def _select(self, paths: Iterator[bytes]) -> Iterator[bytes]:
        """Those of `paths` that may need work."""
        while some := list(islice(paths, SLICE)):
            if self.folder.after == "keep":  # otherwise a finished file may still have to be moved
                some = self._not_finished(some)
            yield from some

    def _not_finished(self, paths: list[bytes]) -> list[bytes]:
        there = {}
        for path in paths:
            self.liveness.progress()  # a network file system may take its time for each
            with suppress(OSError):
                there[path] = Identity.of(os.lstat(path))
        finished = self._reader.finished(there)
        return [path for path in paths if path not in finished]

    def _scan_in(self, seconds: float) -> None:
        """Scan soon, because the tracker has no room for more files."""
        self._walk_at = min(self._walk_at, time.monotonic() + seconds)

    # Files

    def _attempt(self, due: Look, ignored: Counter[str]) -> None:
        """Check one file, later if the journal or the disk cannot be read now."""
        try:
            self._check(due, ignored)
        except READ_ERRORS as error:
            log.warning("cannot look at %s now: %s", os.fsdecode(due.path), error)
            if not self._tracker.retry(due, None, 0, str(error)):
                self._scan_in(self.folder.settle)

    def _check(self, due: Look, ignored: Counter[str]) -> None:
        """Check one file and act on the result; count it in `ignored` if the daemon ignores it."""
        path = due.path
        if self._scope.is_own(path):
            self._tracker.drop(path)
            return
        if reason := self._scope.ignores(path):
            ignored[reason] += 1
            self._tracker.drop(path)
            return
        try:
            found = os.lstat(path)
        except OSError:
            found = None  # `look` gets the same error, and reports it
        row = self._reader.row(path)
        if found is not None and row is not None and is_known(row, Identity.of(found)):
            self._dispose(due, row, found)
            return
        match look(path, self._evidence(due, found), found, self.root):
            case Whole() as whole:
                self._claim(due, whole, row)
            case Growing() as growing:
                if not self._tracker.settle(due, growing):
                    self._scan_in(self.folder.settle)
            case Faulty(text, error, identity):
                log.warning("cannot look at %s now: %s", os.fsdecode(path), text)
                if identity is not None and due.last_try:
                    self._claim(due, Whole(identity), row)  # its job reports the error
                elif not self._tracker.retry(due, identity, error, text):
                    self._scan_in(self.folder.settle)
            case Ignored(reason):
                ignored[reason] += 1
                self._tracker.drop(path)
                if row is not None and row.state == "open" and self._root.check(now=True):
                    self._end_vanished_file(row)

    def _evidence(self, due: Look, found: os.stat_result | None) -> Evidence:
        written = self._root.is_written(due.path, presume=not due.forgotten)
        linked_in = due.made and not written and found is not None and found.st_nlink > 1
        closed = due.closed or linked_in
        return Evidence(closed, written, due.settled, due.old, self._root.remote)

    def _claim(self, due: Look, whole: Whole, row: LedgerRow | None) -> None:
        path = due.path
        next_one = claim(path, self.folder.name, whole.identity, row)
        if row is not None and row.state == "open" and next_one.version != row.version:
            self._end_unfinished(row, "changed", "it was changed before it was read to its end")
        next_one = replace(
            next_one, noticed=due.noticed, missing=whole.promised_more, last_try=due.last_try
        )
        job = FileJob(next_one, self.folder, self._context, self._release)
        self._tracker.claim(path, whole.identity, whole.sure, job)
        self._jobs.put(job)

    def _dispose(self, due: Look, row: LedgerRow, found: os.stat_result) -> None:
        """Move or delete a finished file if settings say so, and it has no writer any more."""
        after = self.folder.after
        if after == "move" or (after == "delete" and row.state == "done"):
            writer = self._has_writer(due, found)
            if writer or (writer is None and not (due.sure or due.closed or due.old)):
                if not self._tracker.hold(due, row.identity, bool(writer)):
                    self._scan_in(self.folder.settle)
                return
            result = self._disposal.put_away(row)
            if result.look_at is not None:
                self.look(result.look_at)
            if result.problem is not None:
                self._staying.refused(due.path, result.problem)
            elif result.done and self._staying.put_away(due.path):
                self._tracker.scan("finished files can be moved or deleted again")
        self._tracker.drop(due.path)

    def _has_writer(self, due: Look, found: os.stat_result) -> bool | None:
        try:
            return may_have_writer(due.path, self._evidence(due, found), self.root)
        except OSError:  # move a file even if it cannot be read
            return None

    def _end_vanished(self) -> None:
        """End files that were begun before a restart and have vanished."""
        for row in self._reader.open_rows(self.folder.name):
            if not self._tracker.in_work(row.path) and _is_gone(row.path):
                self._end_vanished_file(row)

    def _end_vanished_file(self, row: LedgerRow) -> None:
        self._end_unfinished(row, "vanished", "it was gone before it was read to its end")

    def _end_unfinished(self, row: LedgerRow, code: str, text: str) -> None:
        source = file_source(row.source, row.path)
        message = file_end(source, row.file_id, "incomplete", row.windows, Error(code, text))
        self._context.deliver(Delivery(Record([message], replace(row, state="incomplete"))))


def _is_gone(path: bytes) -> bool:
    """Whether the file is certainly gone; a passing error does not prove it."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno in GONE
    return False
