"""Ask a daemon's replay endpoint, over a socket that survives a daemon that does not answer."""

from __future__ import annotations

import math
import time

import msgspec
import zmq

from daemon.host.tcp import check_endpoint_form
from daemon.protocol.keys import ClientKeys
from daemon.protocol.replay import PageRequest, StatusRequest


class Asker:
    """One question at a time. For one thread."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, keys: ClientKeys | None
    ) -> None:
        """Raises SettingsError if `endpoint` has not the form of one."""
        check_endpoint_form("replay", endpoint)
        self._context, self._endpoint, self._keys = context, endpoint, keys
        self._socket = self._connect()
        self._asked_at: float | None = None  # time.monotonic() of the question that is open

    def _connect(self) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.DEALER)
        if self._keys is not None:
            self._keys.use_on(socket)
        socket.linger = 0
        socket.connect(self._endpoint)
        return socket

    def ask(
        self, request: PageRequest | StatusRequest, timeout: float, patience: float
    ) -> list[bytes] | None:
        """The frames of the answer; None without one within `timeout` seconds.

        The next call continues to wait, and asks again after `patience` seconds.
        """
        if self._asked_at is None:
            self._socket.send(msgspec.json.encode(request))
            self._asked_at = time.monotonic()
        if self._socket.poll(milliseconds(timeout)):
            self._asked_at = None
            return self._socket.recv_multipart()
        if time.monotonic() - self._asked_at >= patience:
            # On a separate socket, so that a late answer is not mistaken for the next one.
            self._socket.close(linger=0)
            self._socket = self._connect()
            self._asked_at = None
        return None


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, rounded up so that a wait is never zero."""
    return math.ceil(1000 * seconds)
