"""One connection to the broker, together with one to the daemon."""

from __future__ import annotations

import logging
import threading
import time

import msgspec

from daemon.client import Client
from daemon.host.keeping import CannotKeep
from daemon.mqtt import topics
from daemon.mqtt.broker import Broker, BrokerAway
from daemon.mqtt.discovery import descriptions
from daemon.mqtt.memory import Memory
from daemon.mqtt.outbox import Outbox
from daemon.mqtt.states import States, named
from daemon.protocol.decoding import Head, Received
from daemon.settings.subscribers import Mqtt

log = logging.getLogger(__name__)

WAIT_S = 0.2  # for a message; how soon a stop and an acknowledgement are noticed
STATES_S = 0.5  # between updates of retained states while messages keep coming
END_S = 2.0  # for the broker to acknowledge the last messages
EVENTS = "tinyast.v1.event."


class Session:
    """Forwards until stopped. `run` raises BrokerAway if the connection is lost."""

    def __init__(
        self, settings: Mqtt, memory: Memory, broker: Broker, client: Client, node: str
    ) -> None:
        self._settings, self._memory = settings, memory
        self._broker, self._client, self._node = broker, client, node
        self._outbox = Outbox(broker)
        entities = settings.home_assistant
        labels = () if entities is None else entities.labels
        self._states = States(node, labels, memory.learnt)
        self._published: dict[str, bytes] = {}  # retained by the broker so far
        self._described: list[tuple[str, str, bool]] | None = None  # sources of `_entities`
        self._entities: dict[str, bytes] = {}
        self._clash: str | None = None  # of two sources, as logged
        self._updated_at = 0.0  # time.monotonic() of the last update of states

    def run(self, halt: threading.Event) -> None:
        while not halt.is_set():
            self._broker.check()
            received = self._client.receive(WAIT_S)
            if received is not None:
                self._forward(received)
            self._confirm(self._outbox.settle())
            if received is None or time.monotonic() - self._updated_at >= STATES_S:
                self._update()
        self._retain(topics.availability(self._node), b"offline")
        self._confirm(self._outbox.finish(END_S)[1])

    # -- messages ------------------------------------------------------------------------------

    def _forward(self, received: Received) -> None:
        try:
            self._states.hear(received)
        except msgspec.ValidationError as error:
            log.warning("message %d breaks the contract: %s", received.head.seq, error)
        if not _wanted(self._settings, received):
            self._outbox.skip(received.head)
            return
        topic = topics.forwarded(received.topic, received.message.get("node") or self._node)
        self._confirm(self._outbox.send(topic, received.body, received.head))

    def _confirm(self, head: Head | None) -> None:
        """The broker has acknowledged this message and all before it."""
        if head is not None:
            try:
                self._memory.advance(head)
            except CannotKeep as error:  # if it is killed now, it repeats messages
                log.warning("%s; still forwarding", error)

    # -- states --------------------------------------------------------------------------------

    def _update(self) -> None:
        """Have the broker retain the states of now."""
        self._updated_at = time.monotonic()
        try:
            if self._client.beat is not None:
                self._states.hear_beat(self._client.beat)
            while self._client.pictures:
                self._states.show(self._client.pictures.popleft())
        except msgspec.ValidationError as error:
            log.warning("a heartbeat or picture breaks the contract: %s", error)
        beat = self._states.beat
        if beat is None:
            return
        if beat.node != self._node:
            raise BrokerAway(f"the daemon is now called {beat.node}")
        if (words := topics.clash(map(named, beat.sources))) not in (None, self._clash):
            self._clash = words  # a daemon elsewhere, whose settings this bridge could not check
            log.warning("%s", words)
        wanted = self._wanted_states()
        self._remember(self._memory.retained | wanted.keys())
        for topic, content in wanted.items():
            self._retain(topic, content)
        stale = self._memory.retained - wanted.keys() - self._states.kept()
        # Entities go first, so that Home Assistant reads no empty states.
        stale = {topic for topic in stale if not topics.is_state(topic)} or stale
        for topic in sorted(stale):
            self._retain(topic, b"")
        if stale:
            done, head = self._outbox.finish(END_S)
            self._confirm(head)
            if done:
                self._remember(self._memory.retained - stale)

    def _wanted_states(self) -> dict[str, bytes]:
        wanted = dict(self._states.retained())
        wanted |= self._descriptions()
        alive = b"offline" if self._client.silent else b"online"
        return wanted | {topics.availability(self._node): alive}

    def _descriptions(self) -> dict[str, bytes]:
        """Of all entities, for Home Assistant; made again if there are other ones."""
        if self._settings.home_assistant is None:
            return {}
        sources = [(*named(each), self._states.pictured(each)) for each in self._states.sources]
        if sources != self._described:
            events = any(map(_concerns_events, self._settings.topics))
            self._entities = descriptions(self._settings.home_assistant, self._states, events)
            self._described = sources
        return self._entities

    def _retain(self, topic: str, content: bytes) -> None:
        if self._published.get(topic) != content:
            self._confirm(self._outbox.send(topic, content, retain=True))
            self._published[topic] = content

    def _remember(self, retained: set[str]) -> None:
        """Before anything is retained, and after it is removed: no crash loses a topic."""
        if retained != self._memory.retained:
            self._memory.keep_retained(retained)


def _wanted(settings: Mqtt, received: Received) -> bool:
    """Whether the settings want this message forwarded."""
    if not received.topic.startswith(settings.topics):
        return False
    if received.head.type != "prediction" or settings.decisions == "all":
        return True
    return bool(received.message.get("decision") == settings.decisions)


def _concerns_events(prefix: str) -> bool:
    return EVENTS.startswith(prefix) or prefix.startswith(EVENTS)
