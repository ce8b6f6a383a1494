"""Count connections, subscribers and refusals; end connections that are too many or send too much.

libzmq reports each connection on a monitor socket. An unread monitor blocks libzmq's I/O thread and
with it every subscriber, so one thread reads all monitors, and the queue to it has no bound. The
same thread answers the authenticator's requests, which come at the same moments.
"""

from __future__ import annotations

import logging
import queue
import resource
import struct
import time
from collections import Counter, deque
from collections.abc import Callable
from itertools import count
from socket import AddressFamily

import zmq

from daemon.delivery.authenticator import Authenticator
from daemon.delivery.floods import Arrivals, Budget, Connection, MemoryGuard, over_budget
from daemon.delivery.peers import peer_of
from daemon.monitoring.metrics import HANDSHAKES
from daemon.monitoring.service_thread import ServiceThread

log = logging.getLogger(__name__)

POLL_MS = 250
STALL_S = 60.0
HANDSHAKE_S = 10.0  # libzmq ends a connection that has not shown its key by then
MANY_LEFT = 64  # closed connections before their memory is freed
SWEEP_MS = 100  # between looks at what connections sent
WARY_MS, WARY_S = 10, 10.0  # the same after a flood, and for how long
ARRIVAL_REST_S = 0.002  # between looks at connections whose clients send
# At least so many times as long as the last look took until the next, if that is not too long for a
# flood; fewer after one.
SWEEP_REST, WARY_REST, LONGEST_REST_S = 20, 3, 0.25
THINNED_S = 0.05
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

    def __init__(self, family: AddressFamily, budget: Budget) -> None:
        self._family, self._budget = family, budget
        self.accepted = 0
        self.floods = 0  # connections ended since they sent too much
        self.handshakes: Counter[str] = Counter()  # by result
        self.open: dict[int, Connection] = {}  # by descriptor
        self._early: Counter[int] = Counter()  # bytes answered before the connection was reported
        self._passed: deque[float] = deque(maxlen=10_000)  # when handshakes succeeded
        self._left = 0  # connections closed since their memory was last freed
        self.clear_away: Callable[[], object] = lambda: None  # requests freeing; must not block

    def continue_from(self, before: EndpointStats) -> None:
        """Take over the counters of a socket that was renewed; it begins without connections."""
        self.accepted, self.handshakes = before.accepted, before.handshakes
        self.floods, self.clear_away = before.floods, before.clear_away

    def note(self, event: int, value: int) -> None:
        now = time.monotonic()
        if event == zmq.EVENT_ACCEPTED:
            self.accepted += 1
            peer = peer_of(value, self._family)
            self.open[value] = Connection(peer, now, self._early.pop(value, 0))
        elif event == zmq.EVENT_DISCONNECTED:
            self.open.pop(value, None)
            self._early.pop(value, None)
            self._left += 1
            if self._left >= MANY_LEFT:
                self._left = 0
                self.clear_away()
        else:
            self.handshakes[_RESULTS[zmq.Event(event)]] += 1
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._passed.append(now)

    def answer(self, fd: int, size: int) -> None:
        """A request of `size` bytes was taken from a connection, which may send as many again."""
        if (connection := self.open.get(fd)) is not None:
            connection.answered += size
        else:
            self._early[fd] += size

    def end_flood_of(self, fd: int) -> bool:
        """End the connection with this descriptor if it alone is beyond the budget."""
        connection = self.open.get(fd)
        if connection is None:
            return False
        for each, why in over_budget([connection], self._budget, time.monotonic()):
            self.end_flood(each, why)
        return connection.ended

    def end_floods(self) -> bool:
        """End connections beyond the budget; whether there were any."""
        ended = over_budget(list(self.open.values()), self._budget, time.monotonic())
        for connection, why in ended:
            self.end_flood(connection, why)
        return bool(ended)

    def end_flood(self, connection: Connection, why: str) -> None:
        self.floods += 1
        log.warning("a connection from %s %s; it was closed", connection.peer, why)
        connection.ended = True
        connection.peer.end()

    @property
    def connections(self) -> int:
        return len(self.open)

    @property
    def subscribers(self) -> int:
        """Connections that have completed the handshake."""
        begun = time.monotonic() - HANDSHAKE_S
        fresh = sum(each.since > begun for each in self.open.copy().values())
        passed = sum(at > begun for at in self._passed.copy())
        return self.connections - fresh + min(fresh, passed)


class ConnectionMonitor(ServiceThread):
    """Keeps the statistics of each endpoint, and ends connections beyond their limits.

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
        self._room = max(limit // 2, limit - RESERVE)  # connections, over all endpoints
        self._swept_at = self._guarded_at = self._wary_until = 0.0
        self._guard, self._arrivals = MemoryGuard(), Arrivals()
        self.crowds: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()

    # -- any thread ----------------------------------------------------------------------------

    def watch(self, socket: Socket, name: str, family: AddressFamily, budget: Budget) -> None:
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
        stats = EndpointStats(family, budget)
        if name in self.stats:
            stats.continue_from(self.stats[name])
        self.stats[name] = stats
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

    # -- this thread ---------------------------------------------------------------------------

    def work(self) -> None:
        monitors: dict[Socket, EndpointStats] = {}
        poller = zmq.Poller()
        if self._authenticator is not None:
            poller.register(self._authenticator.socket, zmq.POLLIN)
        if self._arrivals.fileno() >= 0:
            poller.register(self._arrivals, zmq.POLLIN)
        try:
            while monitors or not self._new.empty() or not self._halt.is_set():
                self.liveness.progress()
                while not self._new.empty():
                    monitor, stats = self._new.get()
                    monitors[monitor] = stats
                    poller.register(monitor, zmq.POLLIN)
                for socket, _ in poller.poll(self._patience_ms()):
                    if isinstance(socket, int):
                        self._look_at_arrivals()
                    elif socket not in monitors:
                        assert self._authenticator is not None
                        self._authenticator.answer()
                    elif not self._read(socket, monitors[socket]):
                        poller.unregister(socket)
                        del monitors[socket]
                        socket.close()
                self._guard_memory()
                self._sweep()
        finally:
            for monitor in monitors:
                monitor.close()
            self._arrivals.close()

    def _look_at_arrivals(self) -> None:
        """End a flood at once: what libzmq takes meanwhile, it holds or works on for seconds."""
        for fd in self._arrivals.take():
            for stats in list(self.stats.values()):
                if stats.end_flood_of(fd):
                    self._wary_until = time.monotonic() + WARY_S
        self._guarded_at = 0.0
        self._halt.wait(ARRIVAL_REST_S)

    def _read(self, monitor: Socket, stats: EndpointStats) -> bool:
        """Take the next report; False if it was the last."""
        event, value = _EVENT.unpack(monitor.recv_multipart()[0])
        if event == zmq.EVENT_MONITOR_STOPPED:
            return False
        stats.note(event, value)
        if event == zmq.EVENT_ACCEPTED:
            self._arrivals.watch(value)
        return True

    def _patience_ms(self) -> int:
        return POLL_MS if self.connections == 0 else self._sweep_ms()

    def _sweep_ms(self) -> int:
        return WARY_MS if time.monotonic() < self._wary_until else SWEEP_MS

    def _sweep(self) -> None:
        """Hold connections to their limits, with a small share of this thread's time."""
        began = time.monotonic()
        if began < self._swept_at:
            return
        for stats in list(self.stats.values()):
            if stats.end_floods():
                self._wary_until = began + WARY_S
        self._thin_out()
        now = time.monotonic()
        wary = now < self._wary_until
        rest = min((WARY_REST if wary else SWEEP_REST) * (now - began), LONGEST_REST_S)
        self._swept_at = now + max(self._sweep_ms() / 1000, rest)

    def _guard_memory(self) -> None:
        """End connections by Unix sockets whose data fill the memory."""
        if time.monotonic() < self._guarded_at:
            return
        self._guarded_at = time.monotonic() + self._sweep_ms() / 1000
        endpoints = list(self.stats.values())
        suspects = self._guard.suspects(
            [each for stats in endpoints for each in stats.open.values()]
        )
        if not suspects:
            return
        for stats in endpoints:
            for connection in list(stats.open.values()):
                if connection in suspects:
                    stats.end_flood(connection, "may be the reason for grown memory")
            stats.clear_away()
        self._wary_until = time.monotonic() + WARY_S
        time.sleep(THINNED_S)  # for libzmq to close them and free their memory
        self._guard.freed()

    def _thin_out(self) -> None:
        """Where there are too many connections, end all of the address that has the most.

        Subscribers among them connect again. One address of another machine may have half of all.
        """
        peers = [each.peer for stats in list(self.stats.values()) for each in stats.open.values()]
        if len(peers) <= self._room // 2:
            return
        of_address = Counter(peer.address for peer in peers)
        address, most = of_address.most_common(1)[0]
        theirs = [peer for peer in peers if peer.address == address]
        if len(peers) > self._room or (most > self._room // 2 and not theirs[0].is_local):
            for peer in theirs:
                peer.end()
            self.crowds.put((len(peers), address))
            time.sleep(THINNED_S)  # for libzmq to close them, before they are counted again
