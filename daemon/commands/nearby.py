"""Find the endpoints of a daemon that runs as a service of this machine or this user."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from daemon.errors import DaemonError
from daemon.settings.schema import Settings

SYSTEM = Path("/run/tinyast")  # RuntimeDirectory= of the system's unit


def places() -> list[Path]:
    """Where the units put their sockets: the user's own service first."""
    own = os.environ.get("XDG_RUNTIME_DIR")
    return [Path(own) / "tinyast", SYSTEM] if own else [SYSTEM]


def with_endpoints(settings: Settings, among: Sequence[Path] | None = None) -> Settings:
    """`settings`, with a service's endpoints if they name none and the default port is silent.

    Raises DaemonError if a service's sockets are there and this user may not use them.
    """
    default = Settings()
    named = (settings.publish, settings.replay) != (default.publish, default.replay)
    if named or _answers(int(default.replay.rpartition(":")[2])):
        return settings
    for place in places() if among is None else among:
        try:
            there = stat.S_ISSOCK((place / "replay").stat().st_mode)
        except PermissionError:
            there = True
        except OSError:
            continue
        if there and not os.access(place / "replay", os.W_OK, effective_ids=True):
            raise DaemonError(
                f"a service's sockets are in {place}, and this user may not use them; "
                "try again with sudo, or as the service's user"
            )
        if there:
            ends = {name: f"ipc://{place / name}" for name in ("publish", "replay")}
            return replace(settings, **ends)
    return settings


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
