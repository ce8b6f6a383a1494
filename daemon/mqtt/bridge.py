"""Forward messages from a daemon to a broker, each at least once, in the order of their `seq`.

The journal is the only queue: while the broker is away, the bridge does not read from the daemon.
With the next connection it continues after the last message that the broker has acknowledged.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from daemon.client import Client, Endpoints, Newest, NoAnswer, ask_newest
from daemon.errors import StartError
from daemon.mqtt import topics
from daemon.mqtt.broker import OWN_ID, Broker, BrokerAway, BrokerRefuses, check
from daemon.mqtt.memory import Memory
from daemon.mqtt.outbox import Outbox
from daemon.mqtt.session import Session
from daemon.protocol.decoding import Position, Refused
from daemon.settings.subscribers import Mqtt

log = logging.getLogger(__name__)

WAIT_S = 0.5  # between questions to a daemon that does not answer
PAUSE_S = (1.0, 30.0)  # before another try to connect: the first, and the longest; it doubles
BRIEF_S, MOST_BRIEF = 5.0, 3  # so many connections in a row that break so soon need an explanation
ANSWER_S = 2.0  # for a daemon on this machine to answer
PICTURES = 16  # that wait; the broker gets the newest of each source
CLEAR_S = 10.0  # for the broker to acknowledge what `clear` sends


class Bridge:
    """From one daemon to one broker. `since`: begin after this seq, even if it was sent before.

    Raises StartError or SettingsError if it cannot begin.
    """

    def __init__(
        self, settings: Mqtt, daemon: Endpoints, state: Path, since: int | None = None
    ) -> None:
        check(settings)
        self._settings, self._daemon, self._since = settings, daemon, since
        self._memory = Memory(state)
        self._halt = threading.Event()
        self._connected = False  # ever
        self._progressed = False  # the newest connection brought a message to the broker
        self._brief = 0  # connections in a row that broke soon after they were accepted

    def stop(self) -> None:
        """End soon. From any thread."""
        self._halt.set()

    def close(self) -> None:
        self._memory.close()

    def run(self) -> None:
        """Forward until stopped. Raises StartError if the broker refuses the first connection."""
        pause = PAUSE_S[0]
        while not self._halt.is_set():
            self._progressed = False
            try:
                self._session()
            except (BrokerAway, BrokerRefuses, Refused) as error:
                if isinstance(error, BrokerRefuses) and not self._connected:
                    raise StartError(str(error)) from error
                if self._progressed:
                    pause = PAUSE_S[0]
                log.warning("%s%s; trying again in %g s", error, self._hint(), pause)
                self._halt.wait(pause)
                pause = min(PAUSE_S[1], 2 * pause)

    def clear(self) -> int:
        """Remove all that earlier runs had the broker retain; the number of topics.

        Raises StartError if the broker cannot be reached.
        """
        if self._memory.node is None:
            return 0
        will = topics.availability(self._memory.node)
        broker = self._broker(self._memory.node)
        try:
            broker.open()
            outbox = Outbox(broker)
            cleared = sorted(self._memory.retained | {will})
            for topic in cleared:
                outbox.send(topic, b"", retain=True)
            if not outbox.finish(CLEAR_S)[0]:
                raise BrokerAway("the broker does not acknowledge messages")
        except (BrokerAway, BrokerRefuses) as error:
            raise StartError(str(error)) from error
        finally:
            broker.close()
        self._memory.keep_retained(set())
        return len(cleared)

    def _session(self) -> None:
        """Forward until stopped. Raises BrokerAway, BrokerRefuses or Refused."""
        if (begin := self._begin()) is None:
            return
        node, at = begin
        broker = self._broker(node)
        began = time.monotonic()
        try:
            broker.open()
            self._connected, self._brief = True, self._brief + 1
            log.info("connected to the broker at %s", self._settings.place)
            place = self._daemon
            with Client(
                place.publish, place.replay, since=at.seq, journal=at.journal, keys=place.keys,
                last_id=at.id, pictures=PICTURES if self._settings.home_assistant else 0,
            ) as client:  # fmt: skip
                Session(self._settings, self._memory, broker, client, node).run(self._halt)
        finally:
            self._progressed = broker.progressed
            if time.monotonic() - began > BRIEF_S:
                self._brief = 0
            broker.close()

    def _hint(self) -> str:
        """Brokers close a connection for another one with its id, and many do not say so."""
        if self._brief < MOST_BRIEF:
            return ""
        return f"; if another client has its id, {OWN_ID}"

    def _broker(self, node: str) -> Broker:
        name = self._settings.client_id or f"tinyast-{node}"
        return Broker(self._settings, name, topics.availability(node))

    def _begin(self) -> tuple[str, Position] | None:
        """The daemon's node, and the position to resume at; None if stopped before an answer."""
        waiting = False
        while not self._halt.is_set():
            newest = self._ask()
            node = self._memory.node if newest is None else newest.node
            at = self._memory.position
            if self._since is not None:
                at, self._since = Position(self._since, None), None
            elif at is None and newest is not None:  # the first start: with new messages
                at = newest.position
            if node is not None and at is not None:
                self._memory.begin(node, at)
                return node, at
            if not waiting:
                log.warning("no daemon answers at %s yet; waiting for one", self._daemon.replay)
                waiting = True
            self._halt.wait(WAIT_S)
        return None

    def _ask(self) -> Newest | None:
        try:
            return ask_newest(self._daemon, ANSWER_S)
        except NoAnswer:
            return None
