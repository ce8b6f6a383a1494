"""Count handshakes and subscribers, and answer for the authenticator.

libzmq reports each connection on a monitor socket. An unread monitor blocks libzmq's I/O thread and
with it every subscriber, so one thread reads all monitors, and the queue to it has no bound. The
same thread answers the authenticator's requests, which come at the same moments.
"""

from __future__ import annotations

import queue
import struct
import time
from collections import Counter, deque

import zmq

from daemon.delivery.authenticator import Authenticator
from daemon.monitoring.metrics import HANDSHAKES
from daemon.monitoring.service_thread import ServiceThread
from daemon.monitoring.waking import Waker

IDLE_MS = 10_000  # between turns without a report: newcomers and `stop` wake the thread
STALL_S = 60.0
HANDSHAKE_S = 10.0  # libzmq ends a connection that has not shown its key by then

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
    """The connections of one endpoint. The door counts some of them, and the monitor the others.

    The report of a handshake does not name its connection, so for its first seconds a connection
    is only probably a subscriber's; an older one has passed, or libzmq would have ended it.
    """

    def __init__(self) -> None:
        self.accepted = self.connections = 0  # in all; open now
        self.floods = 0  # connections ended since they sent too much
        self.handshakes: Counter[str] = Counter()  # by result
        self.given_up = self.broken = 0  # the same, of those that the door ended
        self._begun: dict[int, float] = {}  # when libzmq accepted a connection, by its descriptor
        self._passed: deque[float] = deque(maxlen=10_000)  # when handshakes succeeded
        self.left = 0  # connections that libzmq has closed

    def note(self, event: int, value: int) -> None:
        now = time.monotonic()
        if event == zmq.EVENT_ACCEPTED:
            self._begun[value] = now
        elif event == zmq.EVENT_DISCONNECTED:
            self._begun.pop(value, None)
            self.left += 1
        else:
            self.handshakes[_RESULTS[zmq.Event(event)]] += 1
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._passed.append(now)

    @property
    def subscribers(self) -> int:
        """Connections that have completed the handshake."""
        begun = time.monotonic() - HANDSHAKE_S
        since = list(self._begun.values())
        fresh = sum(each > begun for each in since)
        passed = sum(at > begun for at in self._passed.copy())
        return len(since) - fresh + min(fresh, passed)

    def snapshot(self) -> dict[str, int]:
        """The figures for `status`."""
        ended = {"given_up": self.given_up, "broken": self.broken}
        results = {each: self.handshakes[each] + ended.get(each, 0) for each in HANDSHAKES}
        return {
            "open": self.connections,
            "subscribers": self.subscribers,
            "accepted": self.accepted,
            **results,
        }


class ConnectionMonitor(ServiceThread):
    """Keeps the statistics of handshakes, and answers for the authenticator.

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
        self._waker = Waker()

    # -- any thread ----------------------------------------------------------------------------

    def watch(self, socket: Socket, name: str) -> EndpointStats:
        """Keep the statistics of a socket that is not bound yet, until it is closed."""
        address = f"inproc://monitor-{name}"
        monitor = self._context.socket(zmq.PAIR)
        monitor.linger, monitor.rcvhwm = 0, 0
        try:
            monitor.connect(address)
            socket.monitor(address, _EVENTS)
        except zmq.ZMQError:
            monitor.close()
            raise
        stats = self.stats[name] = EndpointStats()
        self._new.put((monitor, stats))
        self._waker.wake()
        return stats

    def snapshot(self) -> dict[str, dict[str, int]]:
        """The figures of each endpoint for `status`."""
        return {name: stats.snapshot() for name, stats in self.stats.items()}

    def stop(self) -> None:
        super().stop()
        self._waker.wake()

    # -- this thread ---------------------------------------------------------------------------

    def work(self) -> None:
        monitors: dict[Socket, EndpointStats] = {}
        try:
            with self._waker.waiting():
                self._answer(monitors)
        finally:
            for monitor in monitors:
                monitor.close()

    def _answer(self, monitors: dict[Socket, EndpointStats]) -> None:
        poller = zmq.Poller()
        poller.register(self._waker, zmq.POLLIN)
        if self._authenticator is not None:
            poller.register(self._authenticator.socket, zmq.POLLIN)
        # In this order: sockets may be added until it is asked to stop.
        while not self._halt.is_set() or monitors or not self._new.empty():
            self.liveness.progress()
            while not self._new.empty():
                monitor, stats = self._new.get()
                monitors[monitor] = stats
                poller.register(monitor, zmq.POLLIN)
            for socket, _ in poller.poll(IDLE_MS):
                if not isinstance(socket, zmq.Socket):
                    self._waker.clear()
                elif socket not in monitors:
                    assert self._authenticator is not None
                    self._authenticator.answer()
                elif not _read(socket, monitors[socket]):
                    poller.unregister(socket)
                    del monitors[socket]
                    socket.close()


def _read(monitor: Socket, stats: EndpointStats) -> bool:
    """Take the next report; False if it was the last."""
    event, value = _EVENT.unpack(monitor.recv_multipart()[0])
    if event == zmq.EVENT_MONITOR_STOPPED:
        return False
    stats.note(event, value)
    return True
