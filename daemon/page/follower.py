"""Follow one daemon: store each of its messages once, and pass it on to the live stream."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from daemon.client import Client, Endpoints, NoAnswer
from daemon.errors import DaemonError
from daemon.page.showing import Shower
from daemon.page.store.pictures import Pictures
from daemon.page.store.units import known
from daemon.page.store.writer import CannotStore, Store
from daemon.page.web.live import Hub
from daemon.protocol.decoding import Received, Refused
from daemon.protocol.messages import Message, Prediction, Status
from daemon.protocol.states import FolderState, Heartbeat, MicrophoneState
from daemon.settings.schema import Events

log = logging.getLogger(__name__)

BATCH = 500  # messages of one transaction
WAIT_S = 0.2  # for a message; how soon a stop is noticed
STOPPED_S = 15.0  # without a heartbeat, three of them, after which a daemon counts as stopped
PRUNE_S = 60.0  # between prunings of the store
RETRY_S = 2.0  # after a failure
PICTURES = 1_000  # that wait to be stored


class _Status(msgspec.Struct):
    """The part of a status reply that the page uses."""

    sources: list[FolderState | MicrophoneState]
    journal_bytes: int
    events: Events = Events()


class Follower(threading.Thread):
    """One daemon. After a restart of the page it continues at the end of the store."""

    def __init__(self, connection: Endpoints, store: Store, pictures: Pictures, hub: Hub) -> None:
        super().__init__(name=f"follow {connection.publish}")
        self._connection, self._store, self._hub = connection, store, hub
        self._pictures = pictures
        self.number, self._journal, self._seq, self._last_id = store.daemon(connection.publish)
        self._shower = Shower(self.number, store, pictures, hub)
        self._halt = threading.Event()
        self._beat: Heartbeat | None = None
        self._raw_beat: object = None  # the newest one seen, before it was read
        self._beat_at = 0.0  # time.monotonic()
        self._ended = False  # it said that it stops
        self._shown = self.state  # what browsers were last sent
        self._pruned = -PRUNE_S
        self._waits_for: str | None = None  # why the page cannot store what it hears
        self.lost = 0  # messages that the daemon no longer had
        self.roots: list[bytes] = []  # the folders that the daemon named
        self.events = Events()  # the rules of its events
        self.fault: BaseException | None = None  # what ended it
        self.on_fault: Callable[[], None] = lambda: None  # called by its thread

    def stop(self) -> None:
        self._halt.set()

    @property
    def state(self) -> str:
        """`waiting` until the first heartbeat, and for the disk; then `running` or `stopped`."""
        if self._beat is None or self._waits_for is not None:
            return "waiting"
        late = time.monotonic() - self._beat_at > STOPPED_S
        return "stopped" if late or self._ended else "running"

    def describe(self) -> dict[str, object]:
        """What the API says of this daemon."""
        beat = None if self._beat is None else msgspec.to_builtins(self._beat)
        return {
            "number": self.number,
            "endpoint": self._connection.publish,
            "state": self.state,
            "node": None if self._beat is None else self._beat.node,
            "fault": self._waits_for,
            "lost": self.lost,
            "heartbeat": beat,
        }

    def run(self) -> None:
        try:
            while not self._halt.is_set():
                try:
                    self._follow()
                except Refused as error:
                    log.error("the daemon at %s: %s", self._connection.replay, error)
                    self._halt.wait(RETRY_S)
                except (CannotStore, sqlite3.OperationalError, OSError) as error:
                    if self._waits_for is None:
                        self._waits_for = f"{error}; the page waits, and nothing is lost"
                        log.error("%s", self._waits_for)
                        self._show()
                    self._halt.wait(RETRY_S)
        except BaseException as error:  # a page that no longer follows would look alive
            self.fault = error
            self.on_fault()
            if not isinstance(error, DaemonError):  # that one is said at the end of the page
                raise

    def _follow(self) -> None:
        where = self._connection
        with Client(
            where.publish,
            where.replay,
            since=self._seq,
            journal=self._journal,
            last_id=self._last_id,
            keys=where.keys,
            pictures=PICTURES,
        ) as client:
            while not self._halt.is_set():
                if time.monotonic() - self._pruned > PRUNE_S:
                    self._pruned = time.monotonic()
                    self._store.prune()
                    self._ask_status(client)
                batch = self._take(client)
                if client.pictures:  # before the predictions that they belong to
                    self._pictures.add((each.id, each.png) for each in client.pictures)
                    client.pictures.clear()
                if batch:
                    self._keep(batch)
                self.lost = client.lost
                self._note_heartbeat(client)
                if self.state != self._shown:
                    self._show()

    def _ask_status(self, client: Client) -> None:
        """Its folders, which heartbeats name too, its rules of events, the size of its journal."""
        with suppress(NoAnswer, msgspec.ValidationError):
            status = msgspec.convert(client.status(WAIT_S), _Status)
            self._name_roots(status.sources)
            self.events = status.events
            self._store.note_sizes(self.number, status.journal_bytes)

    def _name_roots(self, sources: Sequence[FolderState | MicrophoneState]) -> None:
        self.roots = [each.path.encode() for each in sources if each.path is not None]

    def _take(self, client: Client) -> list[Received]:
        """Messages that have come, at most a batch; empty after a while without any."""
        batch: list[Received] = []
        received = client.receive(WAIT_S)
        while received is not None:
            batch.append(received)
            received = client.receive(0) if len(batch) < BATCH else None
        return batch

    def _keep(self, batch: list[Received]) -> None:
        new = self._store.add(self.number, batch)
        if self._waits_for is not None:
            self._waits_for = None
            log.info("the page's store can be written again")
        head = batch[-1].head
        self._journal, self._seq, self._last_id = head.journal, head.seq, head.id
        self._note_stops(new)
        # Before the messages, of which a browser asks for those that it does not show yet.
        self._shower.show([each.id for each in new if isinstance(each, Prediction)])
        for message in new[-100:]:
            kind = "prediction" if isinstance(message, Prediction) else known(message.type)
            self._hub.publish(kind, msgspec.json.encode(message).decode())

    def _note_stops(self, messages: Sequence[Message]) -> None:
        """A daemon that stops says so; an earlier run's words, in replay, say nothing of it."""
        for message in messages:
            if isinstance(message, Status) and message.status == "stopping" and self._beat:
                self._ended |= message.run_id == self._beat.run_id

    def _show(self) -> None:
        """Send the daemon's state to every browser."""
        self._shown = self.state
        self._hub.publish("heartbeat", msgspec.json.encode(self.describe()).decode())

    def _note_heartbeat(self, client: Client) -> None:
        beat = client.heartbeat
        if beat is None or beat is self._raw_beat:
            return
        self._raw_beat = beat
        try:
            self._beat = msgspec.convert(beat, Heartbeat)
        except msgspec.ValidationError as error:
            log.warning("a heartbeat of %s breaks the contract: %s", self.name, error)
            return
        self._beat_at, self._ended = time.monotonic(), False
        self._name_roots(self._beat.sources)
        self._store.beat(self.number, self._beat)
        self._show()
