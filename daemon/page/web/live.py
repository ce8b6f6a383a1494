"""The live stream: what followers store goes to every browser that listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from daemon.errors import DaemonError

WAITING = 256  # messages that a slow browser may be behind; then it must ask again
MOST_LISTENERS = 100
PING_S = 15.0
GATHER_S = 0.05  # after a send; messages of that time are sent together


class TooManyListeners(DaemonError):
    """No further browser can listen."""


class Hub:
    """Fans out server-sent events. `publish` is for any thread, the rest for the event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queues: set[asyncio.Queue[str | None]] = set()

    @property
    def heard(self) -> bool:
        """Whether anybody listens. For any thread."""
        return bool(self._queues)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    def publish(self, event: str, data: str) -> None:
        """Send `data`, one line of JSON, to each listener."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._put, f"event: {event}\ndata: {data}\n\n")

    def _put(self, text: str | None) -> None:
        for queue in self._queues:
            if queue.full():  # it has fallen behind: have it load its view again
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait("event: behind\ndata: {}\n\n")
            if text is None or not queue.full():
                queue.put_nowait(text)

    def stop(self) -> None:
        """End every stream."""
        self._put(None)
        self._loop = None

    @contextmanager
    def _listener(self) -> Iterator[asyncio.Queue[str | None]]:
        if len(self._queues) >= MOST_LISTENERS:
            raise TooManyListeners(f"{MOST_LISTENERS} browsers listen already; close one")
        queue: asyncio.Queue[str | None] = asyncio.Queue(WAITING)
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    async def listen(self) -> AsyncIterator[str]:
        """The stream of one browser. Raises TooManyListeners."""
        with self._listener() as queue:
            yield "event: hello\ndata: {}\n\n"
            while True:
                try:
                    text: str | None = await asyncio.wait_for(queue.get(), PING_S)
                except TimeoutError:
                    text = ": ping\n\n"
                texts = [text, *_waiting(queue)]
                yield "".join(each for each in texts if each is not None)
                if None in texts:
                    return
                await asyncio.sleep(GATHER_S)


def _waiting(queue: asyncio.Queue[str | None]) -> Iterator[str | None]:
    while not queue.empty():
        yield queue.get_nowait()
