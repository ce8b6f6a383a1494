"""Messages on their way to the broker, in order, no more at once than it takes."""

from __future__ import annotations

import logging
import time
from collections import deque

from daemon.mqtt.broker import Broker
from daemon.protocol.decoding import Head

log = logging.getLogger(__name__)

WAIT_S = 0.2  # how soon a lost connection is noticed


class Outbox:
    """Sends through an open connection. Its methods raise BrokerAway if that is lost."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        # The connection's number for a message, None if no acknowledgement is due; the place it
        # confirms.
        self._pending: deque[tuple[int | None, Head | None]] = deque()

    def send(
        self, topic: str, content: bytes, confirms: Head | None = None, retain: bool = False
    ) -> Head | None:
        """Send at QoS 1. Waits while too many are on their way; returns the same as `settle`.

        A message that is too large for the broker is left out, and logged.
        """
        confirmed = None
        if not self._broker.fits(topic, content):
            log.warning(
                "the broker takes no message as large as one to %s of %d bytes; it is left out",
                topic,
                len(content),
            )
            if confirms is not None:
                self.skip(confirms)
            return self.settle()
        while len(self._pending) >= self._broker.window:
            self._wait(WAIT_S)
            confirmed = self.settle() or confirmed
        number = self._broker.publish(topic, content, retain)
        self._pending.append((number, confirms))
        return confirmed

    def skip(self, head: Head) -> None:
        """Confirm a message that is not sent once all before it are confirmed."""
        self._pending.append((None, head))

    def settle(self) -> Head | None:
        """The last message that is confirmed by now, with all before it; None if none is new."""
        last = None
        while self._pending:
            number, head = self._pending[0]
            if number is not None and not self._broker.acknowledged(number):
                break
            last = head or last
            self._pending.popleft()
        return last

    def finish(self, seconds: float) -> tuple[bool, Head | None]:
        """Wait for everything on its way, so long; whether all is confirmed, and as `settle`."""
        deadline = time.monotonic() + seconds
        last = self.settle()
        while self._pending and (left := deadline - time.monotonic()) > 0:
            self._wait(min(left, WAIT_S))
            last = self.settle() or last
        return not self._pending, last

    def _wait(self, seconds: float) -> None:
        number = self._pending[0][0] if self._pending else None
        if number is not None:
            self._broker.wait(number, seconds)
        self._broker.check()
