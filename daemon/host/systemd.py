"""Telling the service manager how it goes (sd_notify(3)); without one, nothing is told."""

from __future__ import annotations

import os
import socket
import time


def notify(*lines: str) -> None:
    """Send state such as `READY=1` to the service manager, if there is one that listens."""
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
            return  # it went away; there is nobody to tell


def reloading() -> None:
    """Say that settings are being read again; `READY=1` follows when that is done."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
