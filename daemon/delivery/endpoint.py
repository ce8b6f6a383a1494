"""One endpoint: libzmq's socket, behind the door that clients come through, and its lock."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import zmq

from daemon.delivery.authenticator import secure
from daemon.delivery.budgets import REQUESTS, SUBSCRIPTIONS, Ledger
from daemon.delivery.connections import HANDSHAKE_S, ConnectionMonitor
from daemon.delivery.door import Door
from daemon.delivery.gate import Gate
from daemon.delivery.listening import Inner, listen, name_of_peer
from daemon.errors import StartError
from daemon.host.locks import Lock
from daemon.host.trust import check_private
from daemon.monitoring.shortage import crash_explained
from daemon.protocol.keys import ServerKeys

FRAMING_BYTES = 9  # at most, of one frame
MAX_MESSAGE = 4_096  # bytes that a client may send: subscriptions and requests are small
LINGER_MS = 2_000  # time to send queued messages at the end

Context = zmq.Context[zmq.Socket[bytes]]


@contextmanager
def starting_zeromq() -> Iterator[None]:
    """Raise StartError if libzmq or pyzmq cannot start its threads and sockets in this block.

    Where libzmq would abort the process, it ends with the same exit code and a line that says why.
    """
    with crash_explained("ZeroMQ cannot start"):
        try:
            yield
        except (zmq.ZMQError, zmq.NotDone, RuntimeError) as error:  # pyzmq's thread: RuntimeError
            raise StartError(f"ZeroMQ cannot start: {error}") from error


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
        door: Door,
        state: Path | None = None,
    ) -> None:
        self._door = door
        keys = keys if address.startswith("tcp://") else None
        self.socket = _make(context, kind, hwm, keys)
        try:
            self._stats = monitor.watch(self.socket, name)
            listener = listen(name, address)
            try:
                inner = Inner(state)
            except BaseException:
                listener.close()
                raise
            self.socket.setsockopt(zmq.USE_FD, inner.socket.detach())
            self.socket.bind(f"ipc://{name}")  # just a name: the descriptor has its address
        except BaseException:
            self.socket.close()
            raise
        self.address = listener.address
        budget = SUBSCRIPTIONS if kind == zmq.PUB else REQUESTS
        self._gate = Gate(name, listener, inner, Ledger(budget), self._stats, keys is not None)
        door.open(self._gate)

    def drop_all(self) -> None:
        """Drop every connection, from any thread; clients come back."""
        self._door.drop(self._gate)

    def cleared_by(self, ask: Callable[[], object]) -> None:
        """Call `ask`, from another thread, when connections have closed.

        libzmq frees their memory only when the socket is used. The owning thread must then call
        `clear_away`; until it has, few other clients are let in.
        """
        self._gate.ask_to_clear = ask

    def take(self) -> list[bytes]:
        """The frames of the request that waits; for the owning thread."""
        frames = self.socket.recv_multipart(copy=False)
        size = sum(len(frame.buffer) + FRAMING_BYTES for frame in frames)
        with suppress(zmq.ZMQError, OSError):  # the connection is gone
            self._door.answered(self._gate, name_of_peer(frames[-1].get(zmq.SRCFD)), size)
        return [frame.bytes for frame in frames]

    def clear_away(self) -> None:
        """Free the memory of closed connections; for the owning thread."""
        self.socket.poll(0)  # unlike getsockopt, it lets other threads run meanwhile
        self._door.cleared(self._gate)

    def close(self) -> None:
        self._door.shut(self._gate)
        self.socket.close()


def _make(context: Context, kind: int, hwm: int, keys: ServerKeys | None) -> zmq.Socket[bytes]:
    socket = context.socket(kind)
    socket.sndhwm = hwm
    # The door bounds what comes in. Where libzmq's own bound stops a connection, a heartbeat of
    # this client, which then goes away, aborts the process (4.3.5, its issues 3937 and 4767).
    socket.rcvhwm = 0
    socket.linger = LINGER_MS
    socket.maxmsgsize = MAX_MESSAGE
    socket.handshake_ivl = round(1000 * HANDSHAKE_S)
    if kind == zmq.ROUTER:
        socket.copy_threshold = 0  # so that a reply's last frame shows when it was sent
    if keys is not None:
        secure(socket, keys)
    return socket


def _check_owner(name: str, path: Path) -> None:
    """Sockets are open to all by their mode; who may connect is the directory's to say."""
    if path.lstat().st_uid not in (0, os.geteuid()):
        raise StartError(f"the socket of `{name}`, {path}, belongs to another user; remove it")


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
            f"`{name}` is ipc://{path}, but the file there is not a socket; move it away or "
            "name another path"
        )
    return lock
