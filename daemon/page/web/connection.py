"""HTTP connections that make room for each other, and that no slow client holds for long.

A client waits for its answer before it sends more, and reads it: else it costs memory.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 500
REQUEST_S = 10.0  # within which a request has to come in whole
MOST_WAITING = 65_536  # bytes of further requests that a client may send before it has its answer
UNREAD_S = 60.0  # after which a client is gone that reads nothing more of an answer
MOST_UNREAD = 96 << 20  # bytes of all answers that wait for their clients to read them
ANSWER = 1 << 20  # bytes that such an answer takes in addition, as of the store's connection


class Connection(H11Protocol):
    """uvicorn's, with limits of time and memory for each request.

    If there are too many connections, the one that has waited longest for its client is closed for
    a new one: ten thousand idle connections keep no browser out. So it is if answers that are not
    read take too much memory.
    """

    # Those that wait for their clients, oldest first, and the bytes of answers among them.
    _idle: ClassVar[dict[Connection, None]] = {}
    _unread: ClassVar[dict[Connection, int]] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._limit: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None  # while some of an answer is not sent
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # `pause_writing` and `resume_writing` for each byte
        self._note()
        if len(self.connections) > MOST_CONNECTIONS:
            _close_oldest(self._idle)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waiting, _ = self.conn.trailing_data
        if len(waiting) > MOST_WAITING:
            self.transport.abort()
        self._note()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._note()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._check_reading()
        self._note()
        self._unread[self] = ANSWER + self.transport.get_write_buffer_size()
        while sum(self._unread.values()) > MOST_UNREAD and len(self._unread) > 1:
            _close_oldest(self._unread)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread.pop(self, None)
        _cancel(self._reading)
        self._reading = None
        self._note()

    def connection_lost(self, exc: Exception | None) -> None:
        self._idle.pop(self, None)
        self._unread.pop(self, None)
        for timer in (self._limit, self._reading):
            _cancel(timer)
        super().connection_lost(exc)

    def _check_reading(self, before: int | None = None) -> None:
        """Close it if the client has read nothing since there were `before` bytes to be sent."""
        left = self.transport.get_write_buffer_size()
        if left == before:
            self.transport.abort()
        else:
            self._reading = self.loop.call_later(UNREAD_S, self._check_reading, left)

    def _note(self) -> None:
        """Start the time limit of a request, or end it if the client owes none."""
        cycle = self.cycle
        asked = cycle is not None and not (cycle.response_complete or cycle.more_body)
        if asked and self._reading is None:
            self._idle.pop(self, None)
        else:
            self._idle.setdefault(self)
        if asked or self._reading is not None:
            _cancel(self._limit)
            self._limit = None
        elif self._limit is None:
            self._limit = self.loop.call_later(REQUEST_S, self.transport.abort)

    def _should_upgrade(self) -> bool:
        return False  # there are no web sockets, and uvicorn would log advice for each request


def _close_oldest(waiting: dict[Connection, Any]) -> None:
    oldest = next(iter(waiting))
    del waiting[oldest]  # its end comes later, and further connections before that
    oldest.transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
