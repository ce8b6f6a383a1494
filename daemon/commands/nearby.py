"""Find the daemon to talk to: its endpoints, if it is a service of this machine, and its keys."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from daemon.client import ClientKeys, Endpoints
from daemon.commands.install_service import installed
from daemon.errors import DaemonError, SettingsError
from daemon.host.parent import is_helper
from daemon.settings.schema import Settings

SYSTEM = Path("/run/tinyast")  # RuntimeDirectory= of the system's unit


def places() -> list[Path]:
    """The units' folders of sockets: the user's own service first."""
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


def followed(
    settings: Settings,
    name: str,
    who: str,
    keys: ClientKeys | None = None,
    secret: Path | None = None,
) -> Endpoints:
    """The daemon of these settings, for its subscriber `name`; messages call that one `who`.

    Without `keys`, they are those that the daemon's key directory holds for the subscriber, whose
    own key is `secret` if it lies elsewhere. Raises SettingsError if a key is missing, and
    DaemonError if this user may not use the daemon's sockets.
    """
    settings = with_endpoints(settings)
    keys = keys or _kept_keys(settings, name, who, secret)
    return Endpoints(settings.publish, settings.replay, keys)


def _kept_keys(settings: Settings, name: str, who: str, secret: Path | None) -> ClientKeys | None:
    folder = settings.keys_path
    if folder is None:
        return None
    secret = secret or folder / f"{name}.key_secret"
    if not secret.exists():
        raise SettingsError(
            f"the daemon has keys, and {who} needs one: "
            f"`tinyastd keygen {folder} --client {name}` makes {secret}"
        )
    return ClientKeys.load(folder / "server.key", secret)


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
