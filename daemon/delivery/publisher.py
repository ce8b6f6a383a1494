"""Delivery: commit messages, then publish them. The only writer of journal and PUB.

Every message passes through one bounded queue to one thread. The thread commits all waiting
messages in one transaction and then publishes them. It waits for more only while files queue up:
a few milliseconds do not matter to them then, and they share the work of a commit.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue

import zmq
from msgspec import Struct
from msgspec.structs import replace

from daemon.delivery.endpoint import Endpoint
from daemon.journal.records import Abandoned, Delivery
from daemon.journal.writer import Journal
from daemon.monitoring.metrics import Tally
from daemon.monitoring.service_thread import ServiceThread
from daemon.protocol.messages import HEARTBEAT_TOPIC, now, to_json
from daemon.protocol.states import Heartbeat
from daemon.settings.schema import JournalLimits

log = logging.getLogger(__name__)

QUEUE = 1_024  # items waiting; producers of more wait
POSTED = 1_000  # statuses that wait for a full disk; the oldest are dropped
BATCH = 512  # items committed together
GATHER_S = 0.05  # from one commit to the next while files queue up
PRUNE_S, PRUNE_MOST = 1.0, 1_000  # interval of deleting old messages, and most per turn
STALL_S = 60.0  # for one commit, on the slowest of disks
SLOW_S = 5.0  # for one commit; a slower disk counts as hung
CHECK_S = 1.0  # between checks whether the journal has been deleted
RETRY_S = 1.0  # between attempts while the disk refuses


class Upkeep(Struct, frozen=True):
    """Work on the endpoint, for the thread that owns it."""

    work: Callable[[Endpoint], None]


Item = Delivery | Upkeep


class _Wake:
    """Wakes the thread after a post."""


_WAKE = _Wake()


class DeliveryThread(ServiceThread):
    """Owns the journal from `start` to its end, and commits before it publishes.

    The publishing socket is used under a lock, so that heartbeats continue while a commit waits.
    """

    def __init__(
        self,
        journal: Journal,
        endpoint: Endpoint,
        limits: JournalLimits,
        tally: Tally,
        backlog: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__("delivery", STALL_S)
        self._journal, self._endpoint, self._limits = journal, endpoint, limits
        self._tally, self._backlog = tally, backlog
        self._taken_at = 0.0  # time.monotonic() of the newest batch
        self._pruned_at = 0.0
        self._checked_at = 0.0
        self._queue: queue.Queue[Item | _Wake | None] = queue.Queue(QUEUE)
        self._posted: deque[Delivery] = deque(maxlen=POSTED)
        self._refused: str | None = None  # the journal's error, while the commit is retried
        self._socket_lock = threading.Lock()  # over the endpoint's socket and the next
        self._published = dict(journal.newest)  # the newest seq of each type that was sent
        self.notices: SimpleQueue[tuple[str, str]] = SimpleQueue()  # for the main thread to say
        endpoint.cleared_by(lambda: self.offer(Upkeep(Endpoint.clear_away)))

    # -- any thread ----------------------------------------------------------------------------

    def put(self, item: Item) -> None:
        """Queue `item`, waiting for room. Raises Abandoned if the daemon stops meanwhile."""
        while True:
            try:
                self._queue.put(item, timeout=0.2)
                return
            except queue.Full:
                if not self.is_alive() or (self._halt.is_set() and self.blocked):
                    raise Abandoned from None

    def post(self, item: Delivery) -> None:
        """Queue `item` without waiting: for the main thread, whose heartbeats must continue."""
        self._posted.append(item)
        self._wake()

    def _wake(self) -> None:
        with suppress(queue.Full):  # queued items wake the thread already
            self._queue.put_nowait(_WAKE)

    def offer(self, item: Upkeep) -> None:
        """Queue an item if there is room; otherwise the next of its kind will do."""
        with suppress(queue.Full):
            self._queue.put_nowait(item)

    def beat(self, heartbeat: Heartbeat) -> None:
        """Publish a heartbeat now, even if a commit waits."""
        with self._socket_lock:
            beat = replace(
                heartbeat,
                published_at=now(),
                journal=self._journal.uuid,
                last=self._published,
            )
            with suppress(zmq.ZMQError):  # it has been closed: the daemon stops
                self._endpoint.socket.send_multipart((HEARTBEAT_TOPIC.encode(), to_json(beat)))
                self._endpoint.clear_away()  # while the delivery thread may wait for the disk
        self._wake()  # so that an idle journal is checked too

    @property
    def blocked(self) -> str | None:
        """Why the journal cannot be written now; None if it can."""
        if self._refused is None and self.liveness.busy_s > SLOW_S:
            return f"the disk has not answered for {self.liveness.busy_s:.0f} s"
        return self._refused

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    @property
    def newest(self) -> dict[str, int]:
        """The newest seq of each type."""
        return dict(self._journal.newest)

    @property
    def journal_bytes(self) -> int:
        """Size of the journal's file; 0 if it has been deleted."""
        try:
            return self._journal.path.stat().st_size
        except OSError:
            return 0

    def stop_waiting(self) -> None:
        """The daemon stops: do not wait for a disk that refuses."""
        self._halt.set()

    def stop(self) -> None:
        """Deliver the queued items, then end. No item may be put afterwards."""
        self._halt.set()
        while self.is_alive():
            try:
                self._queue.put(None, timeout=0.2)
                return
            except queue.Full:
                continue

    # -- the delivery thread -------------------------------------------------------------------

    def work(self) -> None:
        try:
            ended = False
            while not ended:
                self.liveness.idle()
                batch = self._take()
                self.liveness.progress()
                ended = batch[-1] is None
                self._deliver(batch)
        except Abandoned:
            log.warning("stopping with unwritten messages; their files are classified again")
        finally:
            self._journal.close()
            with self._socket_lock:
                self._endpoint.close()

    def _take(self) -> list[Item | _Wake | None]:
        batch = [self._queue.get()]
        if batch[0] is not None and self._backlog():
            self._halt.wait(self._taken_at + GATHER_S - time.monotonic())
        self._taken_at = time.monotonic()
        while batch[-1] is not None and len(batch) < BATCH:
            try:
                batch.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return batch

    def _deliver(self, items: Sequence[Item | _Wake | None]) -> None:
        deliveries = [self._posted.popleft() for _ in range(len(self._posted))]
        deliveries += [item for item in items if isinstance(item, Delivery)]
        self._check_files()
        if deliveries:
            self._commit(deliveries)
        for item in items:
            if isinstance(item, Upkeep):
                with self._socket_lock:
                    item.work(self._endpoint)

    def _check_files(self) -> None:
        """Notice now and then whether the journal was deleted, and write it again."""
        if time.monotonic() - self._checked_at < CHECK_S:
            return
        self._checked_at = time.monotonic()
        try:
            if self._journal.put_in_place():
                text = (
                    f"the journal {self._journal.path} was deleted or replaced; it is back, whole"
                )
                log.error("%s", text)
                self.notices.put(("journal_restored", text))
        except (OSError, sqlite3.Error) as error:
            log.error("the journal was deleted or replaced, and cannot be written: %s", error)

    def _commit(self, deliveries: list[Delivery]) -> None:
        records = [delivery.record for delivery in deliveries]
        while True:
            try:
                with self._tally.stage("commit"):
                    published = self._journal.commit(records)
                break
            except (sqlite3.OperationalError, MemoryError) as error:
                self._wait_for_disk(str(error) or "out of memory")
        if self._refused is not None:
            log.info("the journal can be written again")
            self._refused = None
        envelope = self._journal.envelope()
        with self._socket_lock:
            socket = self._endpoint.socket
            # Before the predictions, so that who gets one has its picture.
            for picture in (each for delivery in deliveries for each in delivery.pictures):
                socket.send(picture.topic.encode(), zmq.SNDMORE)
                socket.send(to_json(picture.completed(envelope)))
            for message in published:
                socket.send(message.topic.encode(), zmq.SNDMORE)
                socket.send(message.body)
            self._published = dict(self._journal.newest)
        for record in records:
            for said in record.messages:
                self._tally.message(said, record.noticed)
        for delivery in deliveries:
            if delivery.committed is not None:
                delivery.committed()
        self._prune()

    def _prune(self) -> None:
        """Delete a few of the oldest messages regularly, rather than many at once."""
        if time.monotonic() - self._pruned_at < PRUNE_S:
            return
        self._pruned_at = time.monotonic()
        try:
            pruned = self._journal.prune(
                self._limits.keep_mb * 1e6, self._limits.keep_days * 86_400, PRUNE_MOST
            )
            if pruned == PRUNE_MOST:
                self._pruned_at = 0.0  # there are more: at the next commit
        except sqlite3.OperationalError as error:
            log.warning("old messages cannot be pruned now: %s", error)

    def _wait_for_disk(self, reason: str) -> None:
        if self._refused != reason:
            self._refused = reason
            log.error("the journal cannot be written (%s); waiting, nothing is lost", reason)
        self.liveness.progress()  # waiting for the disk counts as progress
        if self._halt.wait(RETRY_S):
            raise Abandoned
