"""HTTP connections that make room for each other, and that no slow client holds for long."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 500
REQUEST_S = 10.0  # within which a request has to come in whole


class Connection(H11Protocol):
    """uvicorn's, with a limit of time for each request.

    If there are too many connections, the one that has waited longest for a request is closed for
    a new one: ten thousand idle connections keep no browser out.
    """

    _idle: ClassVar[dict[Connection, None]] = {}  # connections without a request, oldest first

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._limit: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        self._note()
        if len(self.connections) > MOST_CONNECTIONS:
            oldest = next(iter(self._idle))
            del self._idle[oldest]  # its end comes later, and further connections before that
            oldest.transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._note()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._note()

    def connection_lost(self, exc: Exception | None) -> None:
        self._idle.pop(self, None)
        if self._limit is not None:
            self._limit.cancel()
        super().connection_lost(exc)

    def _note(self) -> None:
        """Start the time limit, or end it if a whole request is here."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or cycle.more_body:
            self._idle.setdefault(self)
            if self._limit is None:
                self._limit = self.loop.call_later(REQUEST_S, self.transport.abort)
        else:
            self._idle.pop(self, None)
            if self._limit is not None:
                self._limit.cancel()
                self._limit = None
