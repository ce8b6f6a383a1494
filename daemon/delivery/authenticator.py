"""Decide at every handshake whether the daemon accepts a subscriber's key.

ZeroMQ asks over ZAP (https://rfc.zeromq.org/spec/27/). The sockets insist on an answer
(`zap_domain` with ZAP_ENFORCE_DOMAIN), so they accept no client while the authenticator is absent.
"""

from __future__ import annotations

import logging
from pathlib import Path

import zmq
from zmq.utils import z85

from daemon.protocol.keys import ServerKeys, allowed

log = logging.getLogger(__name__)

ADDRESS = "inproc://zeromq.zap.01"
DOMAIN = "tinyast"


class Authenticator:
    """Owns the ZAP socket of a context. One thread polls `socket` and calls `answer`."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], clients: Path) -> None:
        self._clients = clients
        # Bind before any socket that asks: an earlier request would fail.
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind(ADDRESS)
        self._shown: set[bytes] = set()  # keys of accepted clients
        self.admitted = 0
        self.turned_away = 0

    def close(self) -> None:
        self.socket.close()

    def lost_keys(self) -> bool:
        """Whether the key of an accepted client has been removed since the last call."""
        try:
            gone = self._shown - allowed(self._clients)
        except OSError:
            return False  # asked again soon
        self._shown.difference_update(gone)
        return bool(gone)

    def answer(self) -> None:
        """Answer the request that waits on `socket`."""
        self.socket.send_multipart(self._reply(self.socket.recv_multipart()))

    def _reply(self, frames: list[bytes]) -> list[bytes]:
        """The reply to version, id, domain, address, identity, mechanism, credentials."""
        request = frames[1] if len(frames) > 1 else b""
        welcome = (
            len(frames) == 7
            and frames[0] == b"1.0"
            and frames[2] == DOMAIN.encode()
            and frames[5] == b"CURVE"
            and len(frames[6]) == 32
            and self._lets_in(z85.encode(frames[6]))
        )
        if welcome:
            self._shown.add(z85.encode(frames[6]))
            self.admitted += 1
            return [b"1.0", request, b"200", b"OK", b"", b""]
        self.turned_away += 1
        return [b"1.0", request, b"400", b"this key is not let in", b"", b""]

    def _lets_in(self, key: bytes) -> bool:
        try:
            return key in allowed(self._clients)
        except OSError as error:
            log.error("the keys in %s cannot be read now: %s", self._clients, error.strerror)
            return False


def secure(socket: zmq.Socket[bytes], keys: ServerKeys) -> None:
    """Restrict an unbound server socket to clients that the authenticator accepts."""
    socket.curve_server = True
    socket.curve_publickey = keys.public
    socket.curve_secretkey = keys.secret
    socket.zap_domain = DOMAIN.encode()
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
