"""Let clients in, and pass their bytes to libzmq and back, within limits.

libzmq accepts and stores all bytes that arrive, without a limit. So it listens on sockets that only
this process can reach, and this thread holds those that clients connect to. It disconnects a client
that sends more than any subscriber does, stays silent, or does not read.
"""

from __future__ import annotations

import errno
import logging
import queue
import resource
import selectors
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from selectors import EVENT_READ, EVENT_WRITE

from daemon.delivery.connections import HANDSHAKE_S
from daemon.delivery.frames import SIGNATURE
from daemon.delivery.gate import Gate
from daemon.delivery.passage import Passage
from daemon.host.tcp import is_loopback, tune_accepted
from daemon.monitoring.service_thread import ServiceThread
from daemon.monitoring.waking import Waker

log = logging.getLogger(__name__)

STALL_S = 60.0
IDLE_S = 10.0  # between turns without a client: orders and newcomers wake the thread
SWEEP_S = 1.0  # between looks for silent clients and those that do not read
UNREAD_S = 60.0  # without reading, after which a client is disconnected
REST_S = 0.02  # after a failed attempt to accept or to connect
AT_ONCE = 64  # connections accepted in a row
CHUNK, LEAST = 65_536, 2_048  # bytes read from libzmq at once, and the fewest
UNSENT = 8_000_000  # bytes that may wait for clients; reads are smaller if they are many
LAST_S = 2.0  # at the end, for clients to take the rest
RESERVE = 256  # descriptors for everything but connections: files in work, the journal, the model
_NEEDS = 3  # descriptors of a connection that libzmq has: the client's, ours to libzmq, and its own
_NO_LINGER = struct.pack("ii", 1, 0)
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class Door(ServiceThread):
    """Owns the sockets that clients connect to, from `start` to its end.

    It ends after libzmq has: what libzmq still sends at its end has to get out.
    """

    def __init__(self) -> None:
        super().__init__("door", STALL_S)
        self._selector = selectors.DefaultSelector()
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Gate, bytes, int]] = queue.SimpleQueue()
        self._waker = Waker()
        self._gates: list[Gate] = []
        self._of_address: Counter[str] = Counter()  # connections
        self._descriptors = 0
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._room = max(limit // 2, limit - RESERVE)
        self._accept_at = self._sweep_at = 0.0
        self._accepting = True
        self.crowds: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()

    # -- any thread ----------------------------------------------------------------------------

    def open(self, gate: Gate) -> None:
        """Accept clients from now on."""
        self._order(lambda: self._begin(gate))

    def shut(self, gate: Gate) -> None:
        """Accept no more; those who are in stay until libzmq closes their connections."""
        self._order(lambda: self._shut(gate))

    def drop(self, gate: Gate) -> None:
        """End every connection; clients connect again."""
        self._order(lambda: self._drop(gate))

    def answered(self, gate: Gate, name: bytes, size: int) -> None:
        """A request of `size` bytes was taken from a connection, which may send as many again."""
        self._answers.put((gate, name, size))

    def cleared(self, gate: Gate) -> None:
        """The thread that owns libzmq's socket has used it."""
        self._order(gate.forget)

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.put(order)
        self._waker.wake()

    def stop(self) -> None:
        super().stop()
        self._order(lambda: None)

    # -- this thread ---------------------------------------------------------------------------

    def work(self) -> None:
        try:
            with self._waker.waiting():
                self._selector.register(self._waker, EVENT_READ)
                self._work()
        finally:
            self._take_orders()
            for gate in self._gates:
                gate.listener.close()
                gate.inner.close()
                for passage in gate.open:
                    passage.close()
            self._selector.close()

    def _work(self) -> None:
        while not self._halt.is_set():
            self._turn()
        until = time.monotonic() + LAST_S
        for gate in self._gates:
            self._shut(gate)
        while any(gate.open for gate in self._gates) and time.monotonic() < until:
            self._turn()

    def _turn(self) -> None:
        self.liveness.progress()
        self._take_orders()
        for key, events in self._selector.select(self._patience_s()):
            if key.data is None:
                self._waker.clear()
            elif isinstance(key.data, Gate):
                self._accept(key.data)
            else:
                gate, passage = key.data
                self._serve(gate, passage, key.fileobj is passage.inner, events)
        for gate in self._gates:
            gate.free_memory()
        self._let_in()
        self._sweep()

    def _take_orders(self) -> None:
        while not self._orders.empty():
            self._orders.get()()
        while not self._answers.empty():
            gate, name, size = self._answers.get()
            if (passage := gate.names.get(name)) is not None:
                gate.ledger.answer(passage.account, size)

    def _patience_s(self) -> float:
        waits = any(gate.queue or gate.left for gate in self._gates)
        if waits or not self._accepting:
            return REST_S
        return SWEEP_S if self._descriptors else IDLE_S

    def _begin(self, gate: Gate) -> None:
        self._gates.append(gate)
        self._selector.register(gate.listener.socket, EVENT_READ, gate)

    def _shut(self, gate: Gate) -> None:
        if gate.listener.socket.fileno() >= 0:
            with suppress(KeyError):  # it rests
                self._selector.unregister(gate.listener.socket)
            gate.listener.close()

    def _drop(self, gate: Gate) -> None:
        for passage in list(gate.open):
            self._end(gate, passage)

    # -- newcomers -----------------------------------------------------------------------------

    def _accept(self, gate: Gate) -> None:
        for _ in range(AT_ONCE):
            try:
                outer, peer = gate.listener.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._rest()
                    return
                continue  # the client has gone
            address = peer[0] if isinstance(peer, tuple) else ""
            outer.setblocking(False)
            if address:
                tune_accepted(outer)
            passage = Passage(outer, address, time.monotonic(), gate.has_keys)
            gate.enter(passage)
            self._of_address[address] += 1
            self._descriptors += 1
            self._go_on(gate, passage, lambda: None)
            self._thin_out()

    def _rest(self) -> None:
        """Pause accepting: a listening socket stays ready without end."""
        self._accepting, self._accept_at = False, time.monotonic() + REST_S
        for gate in self._gates:
            with suppress(KeyError, ValueError):
                self._selector.unregister(gate.listener.socket)

    def _let_in(self) -> None:
        """Connect clients that have spoken to libzmq, as time permits."""
        if not self._accepting and time.monotonic() >= self._accept_at:
            self._accepting = True
            for gate in self._gates:
                if gate.listener.socket.fileno() >= 0:
                    self._selector.register(gate.listener.socket, EVENT_READ, gate)
        for gate in self._gates:
            while gate.queue:
                passage = gate.queue[0]
                waits = passage in gate.open  # else it has gone
                if waits and not (gate.may_open() and self._connect(gate, passage)):
                    break
                gate.queue.popleft()

    def _connect(self, gate: Gate, passage: Passage) -> bool:
        try:
            passage.inner, passage.name = gate.inner.connect()
        except OSError:  # libzmq is behind, or there are no descriptors
            return False
        if passage.name:
            gate.names[passage.name] = passage
        self._descriptors += _NEEDS - 1
        self._go_on(gate, passage, lambda: passage.pass_in(b""))
        self._thin_out()
        return True

    def _thin_out(self) -> None:
        """If there are too many connections, end all of the address that has the most.

        Subscribers among them connect again. One address of another machine may have half of all.
        """
        if self._descriptors <= self._room // 2:
            return
        address, most = self._of_address.most_common(1)[0]
        remote = bool(address) and not is_loopback(address)
        too_many = remote and most * self._descriptors > self._room // 2 * self._of_address.total()
        if self._descriptors > self._room or too_many:
            self.crowds.put((self._of_address.total(), address))
            for gate in self._gates:
                for passage in [each for each in gate.open if each.address == address]:
                    self._end(gate, passage)

    # -- connections --------------------------------------------------------------------------

    def _serve(self, gate: Gate, passage: Passage, is_inner: bool, events: int) -> None:
        """Do what the outer or inner socket of a passage is ready for."""
        for event in (EVENT_READ, EVENT_WRITE):
            if not events & event or passage not in gate.open:
                continue
            if is_inner == (event == EVENT_READ):
                self._go_on(gate, passage, lambda: self._pass_out(passage))
            elif is_inner:
                self._go_on(gate, passage, lambda: passage.pass_in(b""))
            else:
                self._hear(gate, passage)

    def _pass_out(self, passage: Passage) -> None:
        share = UNSENT // (1 + self._of_address.total())
        passage.pass_out(max(LEAST, min(CHUNK, share)), time.monotonic())

    def _hear(self, gate: Gate, passage: Passage) -> None:
        """Take what a client sends, if it may send that much."""
        try:
            data = passage.take()
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(gate, passage)
        elif passage.is_silent and data[0] != SIGNATURE:
            gate.stats.broken += 1
            self._end(gate, passage)
        elif self._pays(gate, passage, data):
            if passage.is_silent:
                gate.queue.append(passage)
            self._go_on(gate, passage, lambda: passage.pass_in(data))

    def _pays(self, gate: Gate, passage: Passage, data: bytes) -> bool:
        """Charge a client for what it sends; false if it was ended for that."""
        self._take_orders()
        gate.ledger.take(passage.account, passage.frames.content(data))
        others = gate.open
        while passage in others and (
            found := gate.ledger.over_budget(passage.account, (each.account for each in others))
        ):
            account, why = found
            ended = next(each for each in others if each.account is account)
            gate.stats.floods += 1
            log.warning(
                "a connection from %s %s; it was closed", ended.address or "a Unix socket", why
            )
            self._end(gate, ended, reset=True)
        return passage in gate.open

    def _go_on(self, gate: Gate, passage: Passage, step: Callable[[], None]) -> None:
        """Do one step of a passage, and wait for what it needs next; or end it."""
        try:
            with suppress(BlockingIOError):
                step()
            if not passage.done:
                self._wait_for_both(gate, passage)
                return
        except OSError:  # the client has gone, or the system cannot watch one more socket
            pass
        self._end(gate, passage)

    def _wait_for_both(self, gate: Gate, passage: Passage) -> None:
        outer, inner = passage.wants()
        self._wait_for(passage.outer, outer, gate, passage)
        if passage.inner is not None:
            self._wait_for(passage.inner, inner, gate, passage)

    def _wait_for(self, end: socket.socket, events: int, gate: Gate, passage: Passage) -> None:
        known = self._selector.get_map().get(end)
        if known is None and events:
            self._selector.register(end, events, (gate, passage))
        elif known is not None and not events:
            self._selector.unregister(end)
        elif known is not None and known.events != events:
            self._selector.modify(end, events, (gate, passage))

    def _end(self, gate: Gate, passage: Passage, reset: bool = False) -> None:
        gate.leave(passage)
        self._of_address[passage.address] -= 1
        if not self._of_address[passage.address]:
            del self._of_address[passage.address]
        self._descriptors -= 1 if passage.inner is None else _NEEDS
        for end in (passage.outer, passage.inner):
            if end is not None:
                with suppress(KeyError):
                    self._selector.unregister(end)
        if reset:
            # A sender that waits for room learns by a reset not to wait longer.
            with suppress(OSError):
                passage.outer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        passage.close()

    def _sweep(self) -> None:
        """End the connections of clients that stay silent or do not read."""
        now = time.monotonic()
        if now < self._sweep_at:
            return
        self._sweep_at = now + SWEEP_S
        for gate in self._gates:
            for passage in list(gate.open):
                if passage.is_silent and now - passage.since > HANDSHAKE_S:
                    gate.stats.given_up += 1
                    self._end(gate, passage)
                elif now - passage.stuck_since(now) > UNREAD_S:
                    log.info("a subscriber read nothing for %.0f s and is disconnected", UNREAD_S)
                    self._end(gate, passage)
