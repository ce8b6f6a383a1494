"""One client's connection: from its socket to libzmq's and back, as bytes."""

from __future__ import annotations

import socket
from selectors import EVENT_READ, EVENT_WRITE

from daemon.delivery.budgets import Account
from daemon.delivery.frames import Encrypted, Frames

READ_BYTES = 4_096  # from a client at once


class Passage:
    """The sockets of a connection, and what waits between them.

    A side that takes no more stops the other; so at most one read waits in each direction.
    """

    def __init__(self, outer: socket.socket, address: str, since: float, has_keys: bool) -> None:
        self.outer = outer
        self.inner: socket.socket | None = None  # until libzmq has the connection
        self.name = b""  # by which libzmq's side knows it
        self.since = self._moved_at = since  # time.monotonic(); when its client last took something
        self.account = Account(address)
        self.frames: Frames | Encrypted = Encrypted() if has_keys else Frames()
        self.left_at, self.number = 0.0, 0  # when it ended, and as which of its endpoint
        self.cleared = 0  # how often libzmq has had the chance to free its memory since
        self._inwards = self._outwards = b""  # waits for room
        self._closing = False  # libzmq has closed it: it ends once its client has the rest

    @property
    def address(self) -> str:
        return self.account.address

    @property
    def is_silent(self) -> bool:
        """Whether its client has not sent anything yet."""
        return self.inner is None and not self._inwards

    def stuck_since(self, now: float) -> float:
        """Since when its client has left what waits for it; `now` if it takes all."""
        return self._moved_at if self._outwards else now

    def wants(self) -> tuple[int, int]:
        """Events of the outer and the inner socket that it waits for."""
        outer = EVENT_WRITE if self._outwards else 0
        inner = EVENT_WRITE if self._inwards else 0
        if not self._inwards and not self._closing:
            outer |= EVENT_READ
        if not self._outwards and not self._closing:
            inner |= EVENT_READ
        return outer, inner

    def take(self) -> bytes:
        """What the client sends now; empty if it has closed. Raises BlockingIOError, OSError."""
        return self.outer.recv(READ_BYTES)

    def pass_in(self, data: bytes) -> None:
        """Give libzmq what its client sent. Raises OSError if it is closed."""
        data = self._inwards + data
        self._inwards = data if self.inner is None else data[_send(self.inner, data) :]

    def pass_out(self, most: int, now: float) -> None:
        """Give the client what libzmq has for it, up to `most` bytes. Raises OSError if closed."""
        assert self.inner is not None
        data, fresh = self._outwards, not self._outwards
        if fresh:
            data = self.inner.recv(most)
            self._closing |= not data
        sent = _send(self.outer, data)
        self._outwards = data[sent:]
        if sent or fresh:
            self._moved_at = now

    @property
    def done(self) -> bool:
        """Whether libzmq has closed it, and its client has everything."""
        return self._closing and not self._outwards

    def close(self) -> None:
        self.outer.close()
        if self.inner is not None:
            self.inner.close()


def _send(to: socket.socket, data: bytes) -> int:
    if not data:
        return 0
    try:
        return to.send(data)
    except BlockingIOError:
        return 0
