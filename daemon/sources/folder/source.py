"""A watched folder: finds every file that is whole and hands each version out once.

One thread owns all of it. Events name paths to look at; a scan, at start, after anything was
lost and now and then, is the truth. Files wait on disk: no more are taken than the workers have
room for.
"""

from __future__ import annotations

import heapq
import logging
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.host.mounts import is_remote
from daemon.host.taking import is_private
from daemon.journal.ledger import Identity, LedgerRow, claim, is_known
from daemon.journal.reader import JournalReader
from daemon.journal.records import Delivery, Record
from daemon.monitoring.service_thread import ServiceThread
from daemon.pipeline.file_job import FileJob
from daemon.pipeline.job import JobContext, Outcome
from daemon.pipeline.queue import JobQueue
from daemon.protocol.messages import Error, file_end, file_source
from daemon.protocol.states import FolderState
from daemon.settings.schema import Folder
from daemon.sources.folder.changes import Hint, Hints
from daemon.sources.folder.disposal import Disposal
from daemon.sources.folder.readiness import Faulty, Growing, Ignored, Whole, ignored_name, look
from daemon.sources.folder.scan import walk

if TYPE_CHECKING:
    from daemon.sources.folder.inotify import Watch

log = logging.getLogger(__name__)

ROOT_CHECK_S = 1.0  # between looks at whether the folder is still the one being watched
STALL_S = 120.0  # for one step: a network file system can take its time
RETRY_S = 2.0  # after a fault of the machine
MADE_WAIT_S = 0.05  # for a file's writer to close it, or for its name to be all there is: a link
LEAST_WAIT_S = 0.02  # between two looks at a file that nothing is heard of
SLICE = 200  # files of a scan that the ledger is asked about at once: some 2 ms
MAX_PENDING = 10_000  # files waited for; beyond that the next scan finds them again


@dataclass(frozen=True)
class _Pending:
    """A file that is not whole yet, as it was when last looked at."""

    identity: Identity | None  # None: not looked at yet, or the machine did not let it be seen
    since: float  # time.monotonic() since when it has been like this
    closed: bool
    due: float  # time.monotonic() at which to look again


class FolderSource(ServiceThread):
    """One `[[folder]]`. `say` publishes a status; `jobs` is where claimed files go."""

    def __init__(
        self,
        folder: Folder,
        state: Path,
        jobs: JobQueue,
        context: JobContext,
        say: Callable[..., None],
    ) -> None:
        super().__init__(f"folder-{folder.name}", STALL_S)
        self.folder = folder
        self.root = os.fsencode(folder.path)
        self._state_dir, self._jobs, self._context, self._say = state, jobs, context, say
        self._source = file_source(folder.name, self.root)
        self._hints = Hints()
        self._lock = threading.Lock()  # over the two below, which the delivery thread touches
        self._active: set[bytes] = set()
        self._look_again: set[bytes] = set()
        self._pending: dict[bytes, _Pending] = {}
        self._due: list[tuple[float, bytes]] = []  # a heap: when to look at which of them
        self._walk: Iterator[bytes] | None = None
        self._found: list[bytes] = []  # by the walk, and not finished as far as the ledger knows
        self._walk_again_at = 0.0
        self._root_checked = 0.0
        self._root_id: tuple[int, int] | None = None  # device and inode
        self._watch: Watch | None = None
        self._degraded: str | None = None
        self._ignored: Counter[str] = Counter()
        self._ignored_in_walk: Counter[str] = Counter()
        self.state = "starting"  # then watching, polling or lost
        self._disposal = Disposal(folder, self.liveness.progress)
        self._stays: str | None = None  # why finished files are not moved or deleted
        self.ready = threading.Event()  # the folder is watched

    # -- any thread ----------------------------------------------------------------------------

    def look(self, path: bytes) -> None:
        """Ask for a look at one path."""
        self._hints.look(path)

    def stop(self) -> None:
        super().stop()
        self._hints.wake()

    def snapshot(self) -> FolderState:
        """What `status` and the heartbeat say of this source."""
        return FolderState(
            name=self.folder.name,
            path=self.folder.path,
            state=self.state,
            degraded=self._degraded or self._stays,
            scanning=self._walk is not None,
            waiting=self.waiting,
            ignored=dict(self._ignored),
        )

    @property
    def waiting(self) -> int:
        """Files known of that have no end state yet; during a scan there may be more on disk."""
        return len(self._hints) + len(self._pending) + len(self._active)

    def _left(self, path: bytes, outcome: Outcome) -> None:
        """A job is done with a file; called from the delivery thread or a worker."""
        with self._lock:
            self._active.discard(path)
            again = path in self._look_again or outcome.look_again
            self._look_again.discard(path)
        if outcome.retry:
            self._retry(path)
        elif again or self.folder.after != "keep":
            self._hints.look(path)

    def _retry(self, path: bytes) -> None:
        timer = threading.Timer(RETRY_S, self._hints.look, (path,))
        timer.daemon = True
        timer.start()

    # -- this thread ---------------------------------------------------------------------------

    def work(self) -> None:
        self._reader = JournalReader(self._state_dir)
        try:
            while not self._halt.is_set():
                self.liveness.progress()
                self._check_root()
                if self._jobs.wait_for_room(ROOT_CHECK_S) and not self._advance():
                    self._hints.wait(self._idle_time())
        finally:
            if self._watch is not None:
                self._watch.close()
            self._reader.close()

    def _advance(self) -> bool:
        """One step of each kind that is due, so that none keeps another waiting."""
        hint = self._hints.take()
        if hint is not None:
            self._check(hint, self._ignored)
        due = self._next_due() <= time.monotonic()
        if due:
            _, path = heapq.heappop(self._due)
            self._check(Hint(path, closed=False, at=time.monotonic()), self._ignored)
        self._begin_walk()
        walking = self._walk is not None and self._jobs.has_room() and self._step_walk()
        return hint is not None or due or walking

    def _idle_time(self) -> float:
        now = time.monotonic()
        until = min(self._root_checked + ROOT_CHECK_S, self._next_due())
        if self._root_id is not None:
            until = min(until, self._walk_again_at)
        return max(0.0, until - now)

    def _next_due(self) -> float:
        """time.monotonic() at which a file has to be looked at again; infinite if none has to."""
        while self._due:
            due, path = self._due[0]
            pending = self._pending.get(path)
            if pending is not None and pending.due == due:
                return due
            heapq.heappop(self._due)  # it was looked at meanwhile
        return math.inf

    # The root

    def _check_root(self) -> None:
        now = time.monotonic()
        if now < self._root_checked + ROOT_CHECK_S and self.state != "starting":
            return
        self._root_checked = now
        try:
            found = os.stat(self.root)
            identity: tuple[int, int] | None = (found.st_dev, found.st_ino)
        except OSError:
            identity = None
        if identity is not None and identity == self._root_id:
            if self._watch is not None and not self._watch.is_alive():
                log.error("the watch on %s died; watching again", self.folder.path)
                self._connect(identity)
            return
        if self._root_id is not None:
            self._lose_root()
        if identity is not None:
            self._connect(identity)

    def _lose_root(self) -> None:
        self._root_id, self._walk, self._found = None, None, []
        self._close_watch()
        self.state = "lost"
        log.error("folder %s is gone; waiting for it to come back", self.folder.path)
        self._say("source_lost", f"folder {self.folder.path} is gone or replaced", self._source)

    def _connect(self, identity: tuple[int, int]) -> None:
        back = self.state == "lost"
        self._root_id = identity
        self._close_watch()
        self._degraded = None
        self._watch = self._open_watch()
        self.state = "polling" if self._watch is None else "watching"
        self._hints.scan("the folder is watched from now on")
        if back:
            log.info("folder %s is back", self.folder.path)
            self._say("source_back", f"folder {self.folder.path} is back", self._source)
        self.ready.set()

    def _close_watch(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _open_watch(self) -> Watch | None:
        if self.folder.watch == "poll":
            return None
        if self.folder.watch == "auto" and is_remote(self.root):
            log.info("%s is a network file system: polling it", self.folder.path)
            return None
        try:
            from daemon.sources.folder.inotify import Watch

            return Watch(self.root, self.folder.recursive, self._hints, self._degrade)
        except ImportError:
            self._degrade("this system has no inotify")
        except OSError as error:
            self._degrade(error.strerror or str(error))
        return None

    def _degrade(self, reason: str) -> None:
        """Events will not do; scans have to. Called from the watch's threads too."""
        if self._degraded is not None:
            return
        self._degraded = reason
        log.warning(
            "not all of %s can be watched (%s); it is scanned every %g s instead",
            self.folder.path,
            reason,
            self.folder.poll,
        )
        self._say(
            "source_degraded",
            f"folder {self.folder.path} is scanned every {self.folder.poll:g} s: {reason}",
            self._source,
        )

    # Scans

    def _begin_walk(self) -> None:
        if self._root_id is None or self._walk is not None:
            return
        reason = self._hints.take_scan()
        if reason is None and time.monotonic() < self._walk_again_at:
            return
        log.debug("scanning %s: %s", self.folder.path, reason or "it is time")
        self._ignored_in_walk = Counter()
        if problem := self._disposal.check():
            self._say_stays(problem)
        self._walk = walk(self.root, self.folder, self._ignored_in_walk, self._disposal)

    def _step_walk(self) -> bool:
        assert self._walk is not None
        if self._found:
            path = self._found.pop()
            self._check(Hint(path, closed=False, at=time.monotonic()), self._ignored_in_walk)
            return True
        if paths := list(islice(self._walk, SLICE)):
            self._found = self._unfinished(paths)
            return True
        self._walk = None
        self._ignored = self._ignored_in_walk
        polled = self._watch is None or self._degraded is not None
        self._walk_again_at = time.monotonic() + (
            self.folder.poll if polled else self.folder.rescan
        )
        self._end_vanished()
        return True

    def _unfinished(self, paths: list[bytes]) -> list[bytes]:
        """Those of `paths` at which there may be something to do."""
        if self.folder.after != "keep":
            return paths  # what is finished may still have to be put away
        there = {}
        for path in paths:
            with suppress(OSError):
                there[path] = Identity.of(os.lstat(path))
        finished = self._reader.finished(there)
        return [path for path in paths if path not in finished]

    def _end_vanished(self) -> None:
        """Give files an end state that were begun before a restart and are no longer there."""
        for row in self._reader.open_rows(self.folder.name):
            with self._lock:
                active = row.path in self._active
            if not active and not os.path.lexists(row.path):
                self._end_unfinished(row, "vanished", "it was gone before it was read to its end")

    def _end_unfinished(self, row: LedgerRow, code: str, text: str) -> None:
        source = file_source(row.source, row.path)
        message = file_end(source, row.file_id, "incomplete", row.windows, Error(code, text))
        self._context.deliver(Delivery(Record([message], replace(row, state="incomplete"))))

    # Files

    def _check(self, hint: Hint, ignored: Counter[str]) -> None:
        """Look at one path and do what is due; what is passed over is counted in `ignored`."""
        path = hint.path
        if is_private(os.path.basename(path)) or self._disposal.owns(path):
            return
        if reason := ignored_name(os.path.basename(path), self.folder.looks_at()):
            ignored[reason] += 1
            return
        with self._lock:
            if path in self._active:
                self._look_again.add(path)
                return
        if hint.made and path not in self._pending:
            self._keep_pending(
                _Pending(None, hint.at, closed=False, due=hint.at + MADE_WAIT_S), path
            )
            return
        try:
            found = os.lstat(path)
        except OSError:
            found = None  # to be looked at again, and told why not
        row = self._reader.row(path)
        if found is not None and is_known(row, Identity.of(found)):
            self._pending.pop(path, None)
            assert row is not None
            self._put_away(row)
            return
        self._look(hint, found, row, ignored)

    def _put_away(self, row: LedgerRow) -> None:
        result = self._disposal.put_away(row, time.time())
        if result.look_at is not None:
            self._hints.look(result.look_at)
        if result.wait_s > 0:
            again = time.monotonic() + max(result.wait_s, self.folder.settle)
            self._walk_again_at = min(self._walk_again_at, again)
        if result.done or result.problem:
            self._say_stays(result.problem)

    def _say_stays(self, problem: str | None) -> None:
        """Say once why finished files stay where they are."""
        if problem is not None and self._stays is None:
            self._say("source_degraded", problem, self._source)
        self._stays = problem

    def _look(
        self,
        hint: Hint,
        found: os.stat_result | None,
        row: LedgerRow | None,
        ignored: Counter[str],
    ) -> None:
        path = hint.path
        pending = self._pending.get(path)
        settled = None
        if pending is not None and hint.at - pending.since >= self.folder.settle:
            settled = pending.identity
        closed = hint.closed or (pending is not None and pending.closed)
        match look(path, closed, settled, found, self.root):
            case Whole() as whole:
                self._pending.pop(path, None)
                self._claim(path, whole, row, hint.at)
            case Growing(identity):
                self._wait_for(hint, identity, closed)
            case Faulty(text):
                log.warning("cannot look at %s now: %s", os.fsdecode(path), text)
                self._wait_for(hint, None, closed)
            case Ignored(reason):
                self._pending.pop(path, None)
                ignored[reason] += 1
                if row is not None and row.state == "open":
                    self._end_unfinished(
                        row, "vanished", "it was gone before it was read to its end"
                    )

    def _wait_for(self, hint: Hint, identity: Identity | None, closed: bool) -> None:
        path, now = hint.path, time.monotonic()
        before = self._pending.get(path)
        as_it_was = before is not None and identity is not None and before.identity == identity
        since = before.since if before is not None and as_it_was else now
        if identity is None:
            due = now + RETRY_S
        else:
            due = max(since + self.folder.settle, now + LEAST_WAIT_S)
            if hint.closed or (closed and as_it_was):
                # The system tells of a close just before it lets go of the writer, and may pause
                # between the two: look again soon, and then less and less often.
                due = min(due, now + max(now - since, LEAST_WAIT_S))
        self._keep_pending(_Pending(identity, since, closed, due), path)

    def _keep_pending(self, pending: _Pending, path: bytes) -> None:
        if path not in self._pending and len(self._pending) >= MAX_PENDING:
            self._walk_again_at = min(self._walk_again_at, time.monotonic() + self.folder.settle)
            return
        self._pending[path] = pending
        heapq.heappush(self._due, (pending.due, path))

    def _claim(self, path: bytes, whole: Whole, row: LedgerRow | None, noticed: float) -> None:
        due = claim(path, self.folder.name, whole.identity, row)
        if row is not None and row.state == "open" and due.version != row.version:
            self._end_unfinished(row, "changed", "it was changed before it was read to its end")
        with self._lock:
            self._active.add(path)
        due = replace(due, noticed=noticed, missing=whole.promised_more)
        self._jobs.put(FileJob(due, self.folder, self._context, self._left))
