"""Follow the frames of a client that has no keys, to tell its content from the wire's heartbeats.

ZMTP (https://rfc.zeromq.org/spec/23/ and /spec/37/): a greeting of 64 bytes (12 in version 2), then
frames of a byte of flags, 1 or 8 bytes of length, and a body.
"""

from __future__ import annotations

import time

SIGNATURE = 0xFF  # the first byte of every version since 2, the oldest with a handshake
_VERSION_AT, _GREETING, _GREETING_2 = 10, 64, 12
_LONG, _COMMAND = 0x02, 0x04
_HEARTBEATS = (b"\x04PING", b"\x04PONG")
_NAMED = 5  # bytes of a command until these are known
_MOST_HEARTBEAT = 64  # bytes; its context has at most 16


class Frames:
    """Counts the bytes of frames that are content: neither greeting, handshake nor heartbeats."""

    def __init__(self) -> None:
        self._head = bytearray()  # of what is not complete enough to be judged
        self._greeted = False
        self._rest = 0  # bytes of the current frame that are still to come
        self._counts = False  # whether they are content

    def content(self, data: bytes) -> int:
        """How many of the next bytes are content."""
        found, at, end = 0, 0, len(data)
        while at < end:
            if self._rest:
                step = min(self._rest, end - at)
                self._rest -= step
                found += step * self._counts
                at += step
                continue
            self._head.append(data[at])
            at += 1
            found += self._begin()
        return found

    def _begin(self) -> int:
        """Look at the head of a greeting or frame; bytes of it that are content."""
        head = self._head
        if not self._greeted:
            if len(head) > _VERSION_AT:
                greeting = _GREETING if head[_VERSION_AT] >= 3 else _GREETING_2
                self._frame(greeting - len(head), False)
                self._greeted = True
            return 0
        size_bytes = 8 if head[0] & _LONG else 1
        if len(head) <= size_bytes:
            return 0
        size = int.from_bytes(head[1 : 1 + size_bytes], "big")
        if head[0] & _COMMAND and _NAMED <= size <= _MOST_HEARTBEAT:
            if len(head) < 1 + size_bytes + _NAMED:
                return 0
            name = bytes(head[1 + size_bytes :])
            if name in _HEARTBEATS:
                self._frame(size - _NAMED, False)
                return 0
        return self._frame(size - (len(head) - 1 - size_bytes), True)

    def _frame(self, rest: int, counts: bool) -> int:
        taken = len(self._head) * counts
        self._head.clear()
        self._rest, self._counts = rest, counts
        return taken


class Encrypted:
    """The same for a client with keys, whose frames cannot be told apart."""

    HANDSHAKE_BYTES, BYTES_S = 1_000, 100  # that are no content; each second, for heartbeats

    def __init__(self) -> None:
        self._free, self._at = float(self.HANDSHAKE_BYTES), time.monotonic()

    def content(self, data: bytes) -> int:
        now = time.monotonic()
        free = min(self.HANDSHAKE_BYTES, self._free + self.BYTES_S * (now - self._at))
        self._free, self._at = max(0.0, free - len(data)), now
        return max(0, len(data) - round(free))
