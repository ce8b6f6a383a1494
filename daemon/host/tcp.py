"""TCP addresses and ports: loopback, keepalive, and which process holds a port."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path

import zmq


def is_loopback(host: str) -> bool:
    """Whether the address `host`, with or without [], is reachable only from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False  # *, a name or an interface


def why_no_interfaces() -> str | None:
    """The reason why network interfaces cannot be listed; None if they can.

    libzmq lists them before it binds a TCP address, and aborts the process if that is denied.
    """
    if not hasattr(socket, "AF_NETLINK"):  # not Linux
        return None
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()
    except OSError as error:
        return str(error.strerror)
    return None


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


def keep_alive(socket: zmq.Socket[bytes]) -> None:
    """Let the system detect within half a minute that a peer's machine is gone.

    libzmq's heartbeats would detect it too, but they abort the process (4.3.5) if one is missing on
    a connection that is not read because a queue is full: any client can cause that in the daemon,
    and a slow reader causes it in a subscriber (libzmq issues 3937 and 4767). Keepalive does not
    detect a hung daemon; the heartbeats in the stream do.
    """
    socket.tcp_keepalive = 1
    socket.tcp_keepalive_idle = 15  # s
    socket.tcp_keepalive_intvl = 5
    socket.tcp_keepalive_cnt = 3
