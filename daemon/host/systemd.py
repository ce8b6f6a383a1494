"""Report the state to the service manager, if there is one (sd_notify(3))."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress


def notify(*lines: str) -> None:
    """Send a state such as `READY=1` to the service manager, if it listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # Linux's abstract namespace
        address = "\0" + address[1:]
    with (
        suppress(OSError),  # it has gone, or there is no free descriptor: it is told the next time
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
    ):
        sender.connect(address)
        sender.sendall("\n".join(lines).encode())


def is_managed() -> bool:
    """Whether a service manager started this process, and no terminal belongs to it.

    A shell in a terminal may inherit INVOCATION_ID from the service that runs the terminal.
    """
    if os.environ.get("NOTIFY_SOCKET"):
        return True
    return bool(os.environ.get("INVOCATION_ID")) and not _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def reloading() -> None:
    """Report that the daemon reads its settings again; send `READY=1` afterwards."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
