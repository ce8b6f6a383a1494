"""Who is connected: how many subscribers there are, how many were turned away, and when it is full.

libzmq tells of each connection on a monitor, which blocks its I/O thread, and with that everyone,
once nobody reads it: this thread reads nothing else, and the queue to it has no bound.
"""

from __future__ import annotations

import queue
import resource
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from itertools import count

import zmq

from daemon.monitoring.metrics import HANDSHAKES

POLL_MS = 250
HANDSHAKE_S = 10.0  # libzmq ends a connection that has not shown its key by then
MANY_LEFT = 64  # connections that have gone before what they leave is cleared away
RESERVE = 256  # descriptors for everything but connections: files in work, the journal, the model

_EVENT = struct.Struct("=Hi")  # event, value (zmq_socket_monitor(3))
# Not ACCEPT_FAILED: where descriptors run out it comes as fast as the I/O thread can turn.
_EVENTS = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_MONITOR_STOPPED
)
_RESULTS = dict(
    zip(
        (
            zmq.EVENT_HANDSHAKE_SUCCEEDED,
            zmq.EVENT_HANDSHAKE_FAILED_AUTH,
            zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
            zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
        ),
        HANDSHAKES,
        strict=True,
    )
)

Socket = zmq.Socket[bytes]


class Book:
    """The connections of one endpoint.

    A notice of a handshake does not say whose it was, so for its first seconds a connection is
    only probably a subscriber's; one that is older has passed, or it would have been ended.
    """

    def __init__(self) -> None:
        self.accepted = 0
        self.handshakes: Counter[str] = Counter()  # by result
        self._open: dict[int, float] = {}  # since when, by descriptor
        self._passed: deque[float] = deque(maxlen=10_000)  # when handshakes succeeded
        self._left = 0  # connections that have gone since they were last cleared away
        self.clear_away: Callable[[], object] = lambda: None  # asks for it; must not block

    def note(self, event: int, value: int) -> None:
        now = time.monotonic()
        if event == zmq.EVENT_ACCEPTED:
            self.accepted += 1
            self._open[value] = now
        elif event == zmq.EVENT_DISCONNECTED:
            self._open.pop(value, None)
            self._left += 1
            if self._left >= MANY_LEFT:
                self._left = 0
                self.clear_away()
        else:
            self.handshakes[_RESULTS[zmq.Event(event)]] += 1
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._passed.append(now)

    @property
    def connections(self) -> int:
        return len(self._open)

    @property
    def subscribers(self) -> int:
        """Connections that have shown what was asked of them."""
        begun = time.monotonic() - HANDSHAKE_S
        fresh = sum(since > begun for since in self._open.copy().values())
        passed = sum(at > begun for at in self._passed.copy())
        return self.connections - fresh + min(fresh, passed)


class Visitors(threading.Thread):
    """Keeps a book for each endpoint, and says when there are too many for the descriptors."""

    def __init__(self, context: zmq.Context[Socket]) -> None:
        super().__init__(name="visitors")
        self._context = context
        self.books: dict[str, Book] = {}
        self._new: queue.SimpleQueue[tuple[Socket, Book]] = queue.SimpleQueue()
        self._numbers = count()
        self._halt = threading.Event()
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.room = max(limit // 2, limit - RESERVE)  # connections, over all endpoints

    # -- any thread ----------------------------------------------------------------------------

    def watch(self, socket: Socket, name: str) -> None:
        """Keep the book of a socket that is not bound yet, until it is closed."""
        address = f"inproc://monitor-{next(self._numbers)}"
        ear = self._context.socket(zmq.PAIR)
        ear.linger, ear.rcvhwm = 0, 0
        try:
            ear.connect(address)
            socket.monitor(address, _EVENTS)
        except zmq.ZMQError:
            ear.close()
            raise
        # A socket made anew begins with no connections; what it counted before goes on.
        book = self.books[name] = _continued(self.books.get(name))
        self._new.put((ear, book))

    @property
    def connections(self) -> int:
        return sum(book.connections for book in list(self.books.values()))

    def snapshot(self) -> dict[str, dict[str, int]]:
        """What `status` says of each endpoint."""
        return {
            name: {
                "open": book.connections,
                "subscribers": book.subscribers,
                "accepted": book.accepted,
                **{result: book.handshakes[result] for result in HANDSHAKES},
            }
            for name, book in list(self.books.items())
        }

    @property
    def crowded(self) -> bool:
        """Whether connections begin to take the descriptors that other things need."""
        return self.connections > self.room

    def close(self) -> None:
        """Let go of all sockets. Those that are watched have been closed before.

        Their last notice is waited for: libzmq would wait for ever to get rid of it.
        """
        self._halt.set()
        if self.ident is None:
            self.run()
        else:
            self.join()

    # -- this thread ---------------------------------------------------------------------------

    def run(self) -> None:
        ears: dict[Socket, Book] = {}
        poller = zmq.Poller()
        try:
            while ears or not self._new.empty() or not self._halt.is_set():
                while not self._new.empty():
                    ear, book = self._new.get()
                    ears[ear] = book
                    poller.register(ear, zmq.POLLIN)
                for ear, _ in poller.poll(POLL_MS) if ears else []:
                    if not _read(ear, ears[ear]):
                        poller.unregister(ear)
                        del ears[ear]
                        ear.close()
                if not ears:
                    self._halt.wait(POLL_MS / 1000)
        finally:
            for ear in ears:
                ear.close()


def _read(ear: Socket, book: Book) -> bool:
    """Take the next notice; False if it was the last."""
    event, value = _EVENT.unpack(ear.recv_multipart()[0])
    if event == zmq.EVENT_MONITOR_STOPPED:
        return False
    book.note(event, value)
    return True


def _continued(before: Book | None) -> Book:
    book = Book()
    if before is not None:
        book.accepted, book.handshakes = before.accepted, before.handshakes
        book.clear_away = before.clear_away
    return book
