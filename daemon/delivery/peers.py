"""Ask the system about libzmq's connections, and end one: by descriptor, which libzmq reports.

libzmq may close a descriptor at any time, and the system then gives its number to something else.
So each look at one checks that it still is the connection that was accepted.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from daemon.host.tcp import is_loopback

_NO_LINGER = struct.pack("ii", 1, 0)
_RECEIVED = struct.Struct("=128xQ")  # tcpi_bytes_received in struct tcp_info (linux/tcp.h)


@dataclass(frozen=True)
class Peer:
    """The other end of an accepted connection."""

    fd: int
    family: socket.AddressFamily
    address: str = ""  # as is the port, only of TCP
    port: int = 0

    def __str__(self) -> str:
        return self.address or "a Unix socket"

    @property
    def is_local(self) -> bool:
        return self.family == socket.AF_UNIX or is_loopback(self.address)

    def received_bytes(self) -> int:
        """Bytes received so far; 0 if the connection is gone or the system does not say."""
        if self.family == socket.AF_UNIX or not hasattr(socket, "TCP_INFO"):
            return 0
        try:
            with self._borrowed() as connection:
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED.size)
        except OSError:
            return 0
        return int(_RECEIVED.unpack(info)[0]) if len(info) == _RECEIVED.size else 0

    def has_waiting(self) -> bool:
        """Whether data wait to be read; false if the connection is gone."""
        try:
            with self._borrowed() as connection:
                return any(fcntl.ioctl(connection, termios.FIONREAD, bytes(4)))
        except OSError:
            return False

    def end(self) -> None:
        """End the connection, if it is still there; libzmq then closes it."""
        with suppress(OSError), self._borrowed() as connection:
            # A sender that waits for room learns by a reset that there will be none.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            connection.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def _borrowed(self) -> Iterator[socket.socket]:
        """The connection, which stays libzmq's. Raises OSError if it is gone."""
        with _borrowed(self.fd, self.family) as connection:
            name = connection.getpeername()
            if self.family != socket.AF_UNIX and name[:2] != (self.address, self.port):
                raise ConnectionResetError("the descriptor has another connection now")
            yield connection


def peer_of(fd: int, family: socket.AddressFamily) -> Peer:
    """The peer of a connection just accepted; without an address if it is gone already."""
    try:
        with _borrowed(fd, family) as connection:
            name = connection.getpeername()
    except OSError:
        return Peer(fd, family)
    return Peer(fd, family) if family == socket.AF_UNIX else Peer(fd, family, *name[:2])


@contextmanager
def _borrowed(fd: int, family: socket.AddressFamily) -> Iterator[socket.socket]:
    borrowed = socket.socket(family, socket.SOCK_STREAM, 0, fileno=fd)
    try:
        yield borrowed
    finally:
        borrowed.detach()
