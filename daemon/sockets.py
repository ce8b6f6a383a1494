"""The two endpoints, bound and bounded; and who holds one that is taken."""

from __future__ import annotations

import ipaddress
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from daemon.delivery import SEND_HWM
from daemon.errors import SettingsError, StartError
from daemon.locks import Lock
from daemon.replay import MAX_REQUEST

LINGER_MS = 2_000  # what is queued at the end gets this long to leave
HEARTBEAT_MS = 5_000  # ping silent peers; drop those that do not answer in three
HANDSHAKE_MS = 10_000
REPLIES_HWM = 8  # unread replies kept for one client, which asks again for what is dropped


@dataclass
class Endpoints:
    """Both sockets, bound. Each is handed to the one thread that uses it; `close` comes last."""

    context: zmq.Context[zmq.Socket[bytes]]
    publisher: zmq.Socket[bytes]
    router: zmq.Socket[bytes]
    publish: str  # as bound: a port given as * is filled in
    replay: str
    locks: list[Lock] = field(default_factory=list)

    def close(self) -> None:
        self.publisher.close()
        self.router.close()
        self.context.term()
        for lock in self.locks:
            lock.release()


def bind(publish: str, replay: str, insecure: bool) -> Endpoints:
    """Bind both endpoints. Raises SettingsError for a bad one, StartError for one that is taken."""
    for name, endpoint in (("publish", publish), ("replay", replay)):
        check_endpoint(name, endpoint, insecure)
    context = zmq.Context()
    publisher, router = context.socket(zmq.PUB), context.socket(zmq.ROUTER)
    publisher.sndhwm, router.sndhwm = SEND_HWM, REPLIES_HWM
    locks: list[Lock] = []
    try:
        for socket in (publisher, router):
            socket.linger = LINGER_MS
            socket.maxmsgsize = MAX_REQUEST  # subscriptions and requests are small
            socket.handshake_ivl = HANDSHAKE_MS
            socket.heartbeat_ivl = HEARTBEAT_MS
            socket.heartbeat_timeout = 3 * HEARTBEAT_MS
        publish = _bind(publisher, "publish", publish, locks)
        replay = _bind(router, "replay", replay, locks)
    except BaseException:
        context.destroy(linger=0)
        for lock in locks:
            lock.release()
        raise
    return Endpoints(context, publisher, router, publish, replay, locks)


def check_endpoint(name: str, endpoint: str, insecure: bool) -> None:
    """Raise SettingsError for an endpoint that cannot be bound, or that strangers could reach."""
    scheme, _, address = endpoint.partition("://")
    if scheme == "ipc" and address:
        return
    host, _, port = address.rpartition(":")
    if scheme != "tcp" or not host or not (port == "*" or port.isdigit()):
        raise SettingsError(
            f"`{name}` is `{endpoint}`; an endpoint looks like tcp://127.0.0.1:5755 or "
            "ipc:///run/tinyast/publish"
        )
    if not insecure and not _is_loopback(host):
        raise SettingsError(
            f"`{name}` is `{endpoint}`, which anyone on other machines could read; use 127.0.0.1, "
            "or say `insecure = true` (--insecure) where the network keeps strangers out"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False  # *, a name or an interface


def _bind(socket: zmq.Socket[bytes], name: str, endpoint: str, locks: list[Lock]) -> str:
    if endpoint.startswith("ipc://"):
        locks.append(_prepare_ipc(name, Path(endpoint.removeprefix("ipc://"))))
    if endpoint.startswith("tcp://["):
        socket.ipv6 = True
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            port = endpoint.rpartition(":")[2]
            raise StartError(
                f"{name} endpoint {endpoint} is in use by {holder_of_port(int(port))}; stop that "
                f"process, or name another with --{name}"
            ) from error
        raise StartError(f"cannot bind {name} endpoint {endpoint}: {error.strerror}") from error
    bound = socket.getsockopt_string(zmq.LAST_ENDPOINT)
    return bound.rstrip("\0")


def _prepare_ipc(name: str, path: Path) -> Lock:
    """Make sure that binding destroys nothing: libzmq unlinks whatever is at the path."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"cannot make {path.parent} for `{name}`: {error.strerror}") from error
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


def holder_of_port(port: int) -> str:
    """The process that listens on a TCP port, in words (Linux; elsewhere just «a process»)."""
    inodes = _listening_inodes(port)
    for pid in filter(str.isdigit, os.listdir("/proc") if inodes else []):
        try:
            for fd in os.scandir(f"/proc/{pid}/fd"):
                if os.readlink(fd.path) in inodes:
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                    command = b" ".join(words).decode("utf-8", "replace").strip()
                    return f"process {pid} ({command[:80]})"
        except OSError:
            continue  # it ended, or is another user's
    return "another process"


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            # Local address ends in the port, in hexadecimal; state 0A is LISTEN (proc(5)).
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    return inodes
