"""Find clients that send more than any subscriber does, and end their connections.

libzmq keeps every byte that it cannot deliver: the parts of a message that never ends, and some 50
times their size for subscriptions, which it stores byte by byte in a tree. It has no limit for
either. So connections have budgets: each one, all of an address, and all together.

The system counts the bytes of TCP connections. For Unix sockets it does not; there, memory that
grows leads to those whose data wait to be read.
"""

from __future__ import annotations

import logging
import os
import select
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from socket import AF_UNIX

from daemon.delivery.peers import Peer
from tinyast.inference.allocator import give_back_freed_memory

log = logging.getLogger(__name__)

FREE_BYTES = 1_000  # of each connection: its handshake with keys, and a few subscriptions
FREE_BYTES_S = 100  # and each second, for the wire's heartbeats
# Bytes of memory: unread replies may take half of it. Twice that ends all by Unix sockets.
GROWN = 40_000_000
LOOKS, LOOK_S, OFTEN = 5, 0.001, 1  # for data that wait, where a subscriber's are taken at once
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Connection:
    """A client's connection, and how much of what it sent is explained."""

    peer: Peer
    since: float  # time.monotonic()
    answered: int = 0  # bytes of requests that were answered, with their framing
    ended: bool = False  # libzmq closes it only when it reads from it again

    def unexplained(self, now: float) -> int:
        """Bytes received beyond those that any subscriber sends, and that requests explain."""
        explained = FREE_BYTES + FREE_BYTES_S * (now - self.since) + self.answered
        return max(0, self.peer.received_bytes() - round(explained))


@dataclass(frozen=True)
class Budget:
    """Most unexplained bytes."""

    each: int
    address: int
    all: int


SUBSCRIPTIONS = Budget(16_000, 250_000, 500_000)  # some 25 MB of memory
REQUESTS = Budget(64_000, 1_000_000, 4_000_000)  # they wait as they are


def over_budget(
    connections: Iterable[Connection], budget: Budget, now: float
) -> list[tuple[Connection, str]]:
    """The connections to end, and why: the largest senders first, until the rest fit."""
    sizes = [(each.unexplained(now), each) for each in connections if not each.ended]
    sizes = sorted((each for each in sizes if each[0]), key=lambda each: each[0], reverse=True)
    of_address: defaultdict[str, int] = defaultdict(int)
    for size, connection in sizes:
        of_address[connection.peer.address] += size
    total = sum(of_address.values())
    ended = []
    for size, connection in sizes:
        address = connection.peer.address
        if size > budget.each:
            why = "sends without end"
        elif of_address[address] > budget.address:
            why = "is one of many that send too much"
        elif total > budget.all:
            why = "sends much, while all send too much"
        else:
            continue
        of_address[address] -= size
        total -= size
        ended.append((connection, why))
    return ended


class Arrivals:
    """Wakes a poller when clients send; subscribers hardly do. Without epoll, it never does."""

    def __init__(self) -> None:
        self._epoll = select.epoll() if hasattr(select, "epoll") else None

    def fileno(self) -> int:
        return -1 if self._epoll is None else self._epoll.fileno()

    def watch(self, fd: int) -> None:
        """Watch a connection of libzmq, until libzmq closes it."""
        if self._epoll is not None:
            with suppress(OSError):  # it is closed already
                self._epoll.register(fd, select.EPOLLIN | select.EPOLLET)

    def take(self) -> list[int]:
        """Descriptors of those that sent since the last call."""
        return [] if self._epoll is None else [fd for fd, _ in self._epoll.poll(0)]

    def close(self) -> None:
        if self._epoll is not None:
            self._epoll.close()


class MemoryGuard:
    """Notices memory that grows while clients are connected by Unix sockets."""

    def __init__(self) -> None:
        self._normal = 0

    def suspects(self, connections: Sequence[Connection]) -> list[Connection]:
        """Those that are probably the reason for grown memory; empty while it does not grow.

        All of them, if it grows much and it is not clear which: well-behaved ones connect again.
        """
        local = [each for each in connections if each.peer.family == AF_UNIX and not each.ended]
        if not local:
            self._normal = 0
            return []
        used = resident_bytes()
        if self._normal == 0:
            self._normal = used
        if used - self._normal < GROWN:
            return []
        busy = _busy(local)
        return local if not busy and used - self._normal > 2 * GROWN else busy

    def freed(self) -> None:
        """Their connections were closed: return free memory to the system, and begin again."""
        give_back_freed_memory()
        self._normal = resident_bytes()


def resident_bytes() -> int:
    """Memory of this process; 0 if the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return 0


def _busy(connections: Sequence[Connection]) -> list[Connection]:
    """Those whose data wait to be read at some of several looks."""
    seen = [0] * len(connections)
    for _ in range(LOOKS):
        for number, each in enumerate(connections):
            seen[number] += each.peer.has_waiting()
        time.sleep(LOOK_S)
    return [each for each, times in zip(connections, seen, strict=True) if times >= OFTEN]
