"""Report the state to the service manager, if there is one (sd_notify(3))."""

from __future__ import annotations

import os
import socket
import time


def notify(*lines: str) -> None:
    """Send a state such as `READY=1` to the service manager, if it listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # Linux's abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.connect(address)
            sender.sendall("\n".join(lines).encode())
        except OSError:
            return  # the service manager has gone


def reloading() -> None:
    """Report that the daemon reads its settings again; send `READY=1` afterwards."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
