"""Find the endpoints of a daemon that runs as a service of this machine or this user."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from daemon.commands.install_service import installed
from daemon.errors import DaemonError
from daemon.host.parent import is_helper
from daemon.settings.schema import Settings

SYSTEM = Path("/run/tinyast")  # RuntimeDirectory= of the system's unit


def places() -> list[Path]:
    """Where the units put their sockets: the user's own service first."""
    own = os.environ.get("XDG_RUNTIME_DIR")
    return [Path(own) / "tinyast", SYSTEM] if own else [SYSTEM]


def with_endpoints(settings: Settings, among: Sequence[Path] | None = None) -> Settings:
    """`settings`, with a service's endpoints if they name none and the default port is silent.

    A helper has those of its daemon. Raises DaemonError if this user may not use the sockets.
    """
    default = Settings()
    named = (settings.publish, settings.replay) != (default.publish, default.replay)
    if is_helper():
        return settings
    if named or _answers(int(default.replay.rpartition(":")[2])):
        check_allowed(settings.publish, settings.replay)
        return settings
    for place in places() if among is None else among:
        ends = {name: f"ipc://{place / name}" for name in ("publish", "replay")}
        check_allowed(*ends.values())
        if stands(place / "replay"):
            return replace(settings, **ends)
    return settings


def check_allowed(*endpoints: str) -> None:
    """Raise DaemonError if one is a Unix socket that this user may not use.

    ZeroMQ itself keeps trying such a socket, as if there were no daemon.
    """
    for endpoint in endpoints:
        if not endpoint.startswith("ipc://") or endpoint.startswith("ipc://@"):
            continue
        path = Path(endpoint.removeprefix("ipc://"))
        try:
            allowed = not stands(path) or os.access(path, os.W_OK, effective_ids=True)
        except PermissionError:
            allowed = False
        if not allowed:
            raise DaemonError(
                f"permission denied: a daemon's sockets are in {path.parent}, and this user may "
                "not use them; try again with sudo, or as the daemon's user"
            )


def stands(path: Path) -> bool:
    """Whether a socket is there. Raises PermissionError."""
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError as error:
        if isinstance(error, PermissionError):
            raise
        return False


def how_to_start() -> str:
    """How to start a daemon here: as the service, if one is installed."""
    if found := installed():
        return (
            f"the service is installed ({found.unit}): start it with `{found.systemctl} start "
            f"tinyastd`, and `{found.systemctl} status tinyastd` says how it last ended"
        )
    return "start one with `tinyastd run`"


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
