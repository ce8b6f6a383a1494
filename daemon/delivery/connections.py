"""Count connections, subscribers and refusals, and notice when there are too many.

libzmq reports each connection on a monitor socket. An unread monitor blocks libzmq's I/O thread and
with it every subscriber, so one thread reads all monitors, and the queue to it has no bound. The
same thread answers the authenticator's requests, which come at the same moments.
"""

from __future__ import annotations

import queue
import resource
import struct
import time
from collections import Counter, deque
from collections.abc import Callable
from itertools import count

import zmq

from daemon.delivery.authenticator import Authenticator
from daemon.monitoring.metrics import HANDSHAKES
from daemon.monitoring.service_thread import ServiceThread

POLL_MS = 250
STALL_S = 60.0
HANDSHAKE_S = 10.0  # libzmq ends a connection that has not shown its key by then
MANY_LEFT = 64  # closed connections before their memory is freed
RESERVE = 256  # descriptors for everything but connections: files in work, the journal, the model

_EVENT = struct.Struct("=Hi")  # event, value (zmq_socket_monitor(3))
# Not ACCEPT_FAILED: without free descriptors it repeats as fast as the I/O thread can run.
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


class EndpointStats:
    """The connections of one endpoint.

    The report of a handshake does not name its connection, so for its first seconds a connection
    is only probably a subscriber's; an older one has passed, or libzmq would have ended it.
    """

    def __init__(self) -> None:
        self.accepted = 0
        self.handshakes: Counter[str] = Counter()  # by result
        self._open: dict[int, float] = {}  # start, by descriptor
        self._passed: deque[float] = deque(maxlen=10_000)  # when handshakes succeeded
        self._left = 0  # connections closed since their memory was last freed
        self.clear_away: Callable[[], object] = lambda: None  # requests freeing; must not block

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
        """Connections that have completed the handshake."""
        begun = time.monotonic() - HANDSHAKE_S
        fresh = sum(since > begun for since in self._open.copy().values())
        passed = sum(at > begun for at in self._passed.copy())
        return self.connections - fresh + min(fresh, passed)


class ConnectionMonitor(ServiceThread):
    """Keeps the statistics of each endpoint, and detects too many connections.

    It ends after `stop`, once every watched socket is closed: libzmq would wait without end for
    someone to read the last report.
    """

    def __init__(
        self, context: zmq.Context[Socket], authenticator: Authenticator | None = None
    ) -> None:
        super().__init__("connections", STALL_S)
        self._context, self._authenticator = context, authenticator
        self.stats: dict[str, EndpointStats] = {}
        self._new: queue.SimpleQueue[tuple[Socket, EndpointStats]] = queue.SimpleQueue()
        self._numbers = count()
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.room = max(limit // 2, limit - RESERVE)  # connections, over all endpoints

    # -- any thread ----------------------------------------------------------------------------

    def watch(self, socket: Socket, name: str) -> None:
        """Keep the statistics of a socket that is not bound yet, until it is closed."""
        address = f"inproc://monitor-{next(self._numbers)}"
        monitor = self._context.socket(zmq.PAIR)
        monitor.linger, monitor.rcvhwm = 0, 0
        try:
            monitor.connect(address)
            socket.monitor(address, _EVENTS)
        except zmq.ZMQError:
            monitor.close()
            raise
        # A renewed socket begins without connections; the counters continue.
        stats = self.stats[name] = _continued(self.stats.get(name))
        self._new.put((monitor, stats))

    @property
    def connections(self) -> int:
        return sum(stats.connections for stats in list(self.stats.values()))

    def snapshot(self) -> dict[str, dict[str, int]]:
        """The figures of each endpoint for `status`."""
        return {
            name: {
                "open": stats.connections,
                "subscribers": stats.subscribers,
                "accepted": stats.accepted,
                **{result: stats.handshakes[result] for result in HANDSHAKES},
            }
            for name, stats in list(self.stats.items())
        }

    @property
    def crowded(self) -> bool:
        """Whether connections begin to take the descriptors that other parts need."""
        return self.connections > self.room

    # -- this thread ---------------------------------------------------------------------------

    def work(self) -> None:
        monitors: dict[Socket, EndpointStats] = {}
        poller = zmq.Poller()
        if self._authenticator is not None:
            poller.register(self._authenticator.socket, zmq.POLLIN)
        try:
            while monitors or not self._new.empty() or not self._halt.is_set():
                self.liveness.progress()
                while not self._new.empty():
                    monitor, stats = self._new.get()
                    monitors[monitor] = stats
                    poller.register(monitor, zmq.POLLIN)
                for socket, _ in poller.poll(POLL_MS):
                    if socket not in monitors:
                        assert self._authenticator is not None
                        self._authenticator.answer()
                    elif not _read(socket, monitors[socket]):
                        poller.unregister(socket)
                        del monitors[socket]
                        socket.close()
        finally:
            for monitor in monitors:
                monitor.close()


def _read(monitor: Socket, stats: EndpointStats) -> bool:
    """Take the next report; False if it was the last."""
    event, value = _EVENT.unpack(monitor.recv_multipart()[0])
    if event == zmq.EVENT_MONITOR_STOPPED:
        return False
    stats.note(event, value)
    return True


def _continued(before: EndpointStats | None) -> EndpointStats:
    stats = EndpointStats()
    if before is not None:
        stats.accepted, stats.handshakes = before.accepted, before.handshakes
        stats.clear_away = before.clear_away
    return stats
