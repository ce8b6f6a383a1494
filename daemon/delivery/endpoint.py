"""One bound socket that other programs connect to, with its bounds and its lock."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from socket import AddressFamily

import zmq

from daemon.delivery.authenticator import secure
from daemon.delivery.connections import HANDSHAKE_S, ConnectionMonitor
from daemon.delivery.floods import REQUESTS, SUBSCRIPTIONS
from daemon.errors import StartError
from daemon.host.locks import Lock
from daemon.host.tcp import holder_of_port, keep_alive, why_no_interfaces
from daemon.host.trust import check_private
from daemon.protocol.keys import ServerKeys

FRAMING_BYTES = 64  # at most, of one frame, with its encryption
MAX_MESSAGE = 4_096  # bytes that a client may send: subscriptions and requests are small
# libzmq takes all waiting subscriptions whenever the socket is used, and each may cost 200 kB.
MOST_SUBSCRIPTIONS = 64
RECEIVE_BUFFER = 2_048  # bytes; a client that floods is slow, and soon noticed
UNREAD_S = 60.0  # after which a client that reads nothing is disconnected
LINGER_MS = 2_000  # time to send queued messages at the end
RENEW_S = 5.0  # for the system to release the old port

Context = zmq.Context[zmq.Socket[bytes]]


class Endpoint:
    """A server socket, used by one thread alone; `close` comes last.

    Raises StartError, naming the holder, if its address is taken.
    """

    def __init__(
        self,
        context: Context,
        name: str,
        kind: int,
        address: str,
        hwm: int,
        keys: ServerKeys | None,
        monitor: ConnectionMonitor,
    ) -> None:
        self._context, self._name, self._kind, self._hwm = context, name, kind, hwm
        self._monitor = monitor
        self._keys = keys if address.startswith("tcp://") else None
        if not address.startswith("ipc://") and (why := why_no_interfaces()):
            raise StartError(
                f"`{name}` is {address}, for which AF_NETLINK sockets are needed ({why}); under "
                "systemd, add AF_NETLINK to the unit's RestrictAddressFamilies"
            )
        self.socket = self._make(address)
        try:
            self._bind(address)
        except BaseException:
            self.close()
            raise
        # As bound: with the port that replaced a *.
        self.address = self.socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")

    def _make(self, address: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(self._kind)
        socket.sndhwm = self._hwm
        socket.linger = LINGER_MS
        socket.maxmsgsize = MAX_MESSAGE
        if self._kind == zmq.PUB:
            socket.rcvhwm = MOST_SUBSCRIPTIONS
        socket.handshake_ivl = round(1000 * HANDSHAKE_S)
        socket.rcvbuf = RECEIVE_BUFFER
        socket.setsockopt(zmq.TCP_MAXRT, round(1000 * UNREAD_S))
        keep_alive(socket)
        if address.startswith("tcp://["):
            socket.ipv6 = True
        if self._kind == zmq.ROUTER:
            socket.copy_threshold = 0  # so that a reply's last frame shows when it was sent
        if self._keys is not None:
            secure(socket, self._keys)
        try:
            budget = SUBSCRIPTIONS if self._kind == zmq.PUB else REQUESTS
            self._monitor.watch(socket, self._name, _family(address), budget)
        except zmq.ZMQError:
            socket.close()
            raise
        return socket

    def _bind(self, address: str) -> None:
        try:
            self.socket.bind(address)
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                port = address.rpartition(":")[2]
                raise StartError(
                    f"{self._name} endpoint {address} is in use by {holder_of_port(int(port))}; "
                    f"stop that process, or name another with --{self._name}"
                ) from error
            raise StartError(
                f"cannot bind {self._name} endpoint {address}: {error.strerror}"
            ) from error

    def renew(self) -> None:
        """Drop every connection and listen again at the same address; for the owning thread.

        Accepted clients reconnect, and ask replay for missed messages.
        """
        self.socket.unbind(self.address)
        self.socket.close(linger=0)
        deadline = time.monotonic() + RENEW_S
        while True:
            try:
                self.socket = self._make(self.address)
                self._bind(self.address)
                return
            except (StartError, zmq.ZMQError):  # the port, or descriptors, are not free yet
                self.socket.close(linger=0)
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def cleared_by(self, ask: Callable[[], object]) -> None:
        """Call `ask`, from another thread, when many connections have closed.

        libzmq frees their memory, some 10 kB each, only when the socket is used. The owning
        thread must then call `clear_away`; otherwise the memory grows until the next message.
        """
        self._monitor.stats[self._name].clear_away = ask

    def take(self) -> list[bytes]:
        """The frames of the request that waits; for the owning thread."""
        frames = self.socket.recv_multipart(copy=False)
        size = sum(len(frame.buffer) + FRAMING_BYTES for frame in frames)
        with suppress(zmq.ZMQError):  # -1 stands for an error here, and for no descriptor
            self._monitor.stats[self._name].answer(frames[-1].get(zmq.SRCFD), size)
        return [frame.bytes for frame in frames]

    def clear_away(self) -> None:
        """Free the memory of closed connections; for the owning thread."""
        self.socket.getsockopt(zmq.EVENTS)

    def close(self) -> None:
        self.socket.close()


def _check_owner(name: str, path: Path) -> None:
    """Sockets are open to all by their mode; who may connect is the directory's to say."""
    if path.lstat().st_uid not in (0, os.geteuid()):
        raise StartError(f"the socket of `{name}`, {path}, belongs to another user; remove it")


def _family(address: str) -> AddressFamily:
    if address.startswith("ipc://"):
        return AddressFamily.AF_UNIX
    ipv6 = address.startswith("tcp://[")
    return AddressFamily.AF_INET6 if ipv6 else AddressFamily.AF_INET


def ipc_lock(name: str, path: Path) -> Lock:
    """Lock the path of an ipc endpoint, and check that binding will not delete another file.

    libzmq unlinks any file at the path. The lock is released after the context has ended.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"cannot make {path.parent} for `{name}`: {error.strerror}") from error
    check_private(path.parent, f"the directory of `{name}`", sticky=True)
    if path.is_socket():
        _check_owner(name, path)
    lock = Lock(path.with_name(path.name + ".lock"), f"{name} endpoint ipc://{path}")
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return lock
    if not stat.S_ISSOCK(kind):
        lock.release()
        raise StartError(
            f"`{name}` is ipc://{path}, where there is a file that is no socket; move it away or "
            "name another path"
        )
    return lock
