"""Delivery: commit what was found out, then publish it. The only writer of journal and PUB.

Everything that the daemon says passes through one bounded queue to one thread. The thread commits
whatever is waiting in one transaction and publishes it after. It waits for more only where files
queue up: then some milliseconds are nothing to them, and they share the work of a commit.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

import zmq
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

QUEUE = 1_024  # items waiting; more makes their producers wait
BATCH = 512  # items committed together
GATHER_S = 0.05  # from one commit to the next while files queue up
PRUNE_S, PRUNE_MOST = 1.0, 1_000  # how often old messages are deleted, and how many at most
STALL_S = 60.0  # for one commit, on the slowest of disks
RETRY_S = 1.0  # between attempts while the disk refuses


@dataclass(frozen=True)
class Upkeep:
    """Something to do to the endpoint, by the thread that owns it."""

    work: Callable[[Endpoint], None]


Item = Delivery | Heartbeat | Upkeep


class DeliveryThread(ServiceThread):
    """Owns the journal and the publishing endpoint from `start` to its end."""

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
        self._queue: queue.Queue[Item | None] = queue.Queue(QUEUE)
        self.blocked: str | None = None  # why nothing can be committed just now
        endpoint.cleared_by(lambda: self.offer(Upkeep(Endpoint.clear_away)))

    # -- any thread ----------------------------------------------------------------------------

    def put(self, item: Item) -> None:
        """Queue `item`, waiting for room. Raises Abandoned where none comes before the stop."""
        while True:
            try:
                self._queue.put(item, timeout=0.2)
                return
            except queue.Full:
                if not self.is_alive() or (self._halt.is_set() and self.blocked):
                    raise Abandoned from None

    def offer(self, item: Heartbeat | Upkeep) -> bool:
        """Queue what the next of its kind will do as well, if there is room."""
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            return False
        return True

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    @property
    def newest(self) -> dict[str, int]:
        """The newest seq of each type."""
        return dict(self._journal.newest)

    @property
    def journal_bytes(self) -> int:
        """Size of the journal's file."""
        return self._journal.path.stat().st_size

    def stop_waiting(self) -> None:
        """The daemon stops: wait no longer for a disk that refuses."""
        self._halt.set()

    def stop(self) -> None:
        """Deliver what is queued, then end. Nothing may be put after."""
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
                self._deliver([item for item in batch if item is not None])
        except Abandoned:
            log.warning("stopping with unwritten messages; their files are classified again")
        finally:
            self._journal.close()
            self._endpoint.close()

    def _take(self) -> list[Item | None]:
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

    def _deliver(self, items: list[Item]) -> None:
        deliveries = [item for item in items if isinstance(item, Delivery)]
        if deliveries:
            self._commit(deliveries)
        for item in items:
            if isinstance(item, Heartbeat):
                self._send_heartbeat(item)
            elif isinstance(item, Upkeep):
                item.work(self._endpoint)

    def _commit(self, deliveries: list[Delivery]) -> None:
        records = [delivery.record for delivery in deliveries]
        while True:
            try:
                with self._tally.stage("commit"):
                    published = self._journal.commit(records)
                break
            except sqlite3.OperationalError as error:
                self._wait_for_disk(error)
        if self.blocked:
            log.info("the journal can be written again")
            self.blocked = None
        socket = self._endpoint.socket
        for message in published:
            socket.send(message.topic.encode(), zmq.SNDMORE)
            socket.send(message.body)
        for record in records:
            for said in record.messages:
                self._tally.message(said, record.noticed)
        for delivery in deliveries:
            if delivery.committed is not None:
                delivery.committed()
        self._prune()

    def _prune(self) -> None:
        """Take a few of the oldest messages away now and then, rather than many at once."""
        if time.monotonic() - self._pruned_at < PRUNE_S:
            return
        self._pruned_at = time.monotonic()
        try:
            self._journal.prune(
                self._limits.keep_mb * 1e6, self._limits.keep_days * 86_400, PRUNE_MOST
            )
        except sqlite3.OperationalError as error:
            log.warning("old messages cannot be pruned now: %s", error)

    def _wait_for_disk(self, error: sqlite3.OperationalError) -> None:
        if self.blocked != str(error):
            self.blocked = str(error)
            log.error("the journal cannot be written (%s); waiting, nothing is lost", error)
        self.liveness.progress()  # waiting for the disk is what is to be done now
        if self._halt.wait(RETRY_S):
            raise Abandoned

    def _send_heartbeat(self, heartbeat: Heartbeat) -> None:
        beat = replace(
            heartbeat,
            published_at=now(),
            journal=self._journal.uuid,
            last=self._journal.newest,
        )
        self._endpoint.socket.send_multipart((HEARTBEAT_TOPIC.encode(), to_json(beat)))
