"""TCP addresses and ports: loopback, keepalive, and which process holds a port."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path

import zmq

from daemon.errors import SettingsError

HIGHEST_PORT = 65_535
IDLE_S, PROBE_S, PROBES = 15, 5, 3  # of TCP keepalive: a dead peer is found in half a minute


def is_loopback(host: str) -> bool:
    """Whether the address `host`, with or without [], is reachable only from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False  # *, a name or an interface


def check_endpoint_form(name: str, endpoint: str) -> None:
    """Raise SettingsError if `endpoint`, of the setting `name`, has not the form of one."""
    scheme, _, address = endpoint.partition("://")
    if scheme == "ipc" and address:
        return
    host, _, port = address.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() else -1
    if scheme == "tcp" and host and (port == "*" or 0 <= number <= HIGHEST_PORT):
        return
    if scheme == "tcp" and host and number > HIGHEST_PORT:
        raise SettingsError(f"`{name}` is `{endpoint}`; a port is at most {HIGHEST_PORT}")
    raise SettingsError(
        f"`{name}` is `{endpoint}`; an endpoint looks like tcp://127.0.0.1:5755 or "
        "ipc:///run/tinyast/publish"
    )


def holder_of_port(port: int) -> str:
    """The process that listens on a TCP port, in words (Linux; elsewhere just «a process»)."""
    inodes = _listening_inodes(port)
    for pid in filter(str.isdigit, os.listdir("/proc") if inodes else []):
        try:
            with os.scandir(f"/proc/{pid}/fd") as fds:
                holds = any(os.readlink(fd.path) in inodes for fd in fds)
            if holds:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                command = b" ".join(words).decode("utf-8", "replace").strip()
                return f"process {pid} ({command[:80]})"
        except OSError:
            continue  # it ended, or belongs to another user
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


def tune_accepted(connection: socket.socket) -> None:
    """Send small messages at once, and let the system detect that the peer's machine is gone."""
    for level, option, value in _ACCEPTED:
        connection.setsockopt(level, option, value)


# As `keep_alive` does for libzmq; systems without an option keep their own times.
_ACCEPTED = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, option), value)
        for option, value in (
            ("TCP_KEEPIDLE", IDLE_S),
            ("TCP_KEEPINTVL", PROBE_S),
            ("TCP_KEEPCNT", PROBES),
        )
        if hasattr(socket, option)
    ),
]


def keep_alive(socket: zmq.Socket[bytes]) -> None:
    """Let the system detect within half a minute that a peer's machine is gone.

    libzmq's heartbeats would detect it too, but they abort the process (4.3.5) if one is missing on
    a connection that is not read because a queue is full: any client can cause that in the daemon,
    and a slow reader causes it in a subscriber (libzmq issues 3937 and 4767). Keepalive does not
    detect a hung daemon; the heartbeats in the stream do.
    """
    socket.tcp_keepalive = 1
    socket.tcp_keepalive_idle = IDLE_S
    socket.tcp_keepalive_intvl = PROBE_S
    socket.tcp_keepalive_cnt = PROBES
