"""`tinyastd install-service`: the systemd unit, written for this installation."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import daemon
from daemon.errors import SettingsError

NAME = "tinyastd.service"
# Lines that a user's service manager may not or need not apply.
_SYSTEM_ONLY = (
    "DynamicUser=",
    "PrivateUsers=",
    "PrivateNetwork=",
    "PrivateDevices=",
    "DevicePolicy=",
    "IPAddressDeny=",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "Protect",
    "PrivateTmp=",
    "RemoveIPC=",
    "RestrictNamespaces=",
    "SystemCallFilter=",
    "RestrictSUIDSGID=",
    "LockPersonality=",
    "RestrictRealtime=",
    "SystemCallArchitectures=",
    "RestrictAddressFamilies=",
    "NoNewPrivileges=",
    "TasksMax=",
)


def template() -> Path:
    """The unit shipped with the package or checkout. Raises SettingsError."""
    here = Path(daemon.__file__).resolve().parent.parent / "config" / NAME
    for path in (Path(sys.prefix) / "share" / "tinyast" / NAME, here):
        if path.is_file():
            return path
    raise SettingsError(f"this installation came without {NAME}")


def command() -> str:
    """The command with which the unit starts this installation's daemon."""
    script = Path(sys.executable).with_name("tinyastd")
    if script.exists():
        return str(script)
    return shutil.which("tinyastd") or f"{sys.executable} -P -m daemon"


def target(user: bool) -> Path:
    """The path of the unit, for the whole system or for this user."""
    if not user:
        return Path("/etc/systemd/system") / NAME
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "systemd" / "user" / NAME


def render(config: Path | None, user: bool) -> str:
    """The unit's text."""
    if config is None:
        config = (
            target(user=True).parents[2] / "tinyast" / "tinyast.toml"
            if user
            else Path("/etc/tinyast/tinyast.toml")
        )
    start = f"ExecStart={command()} run --config {config.absolute()}"
    lines = list(_lines(template().read_text(encoding="utf-8"), start, user))
    return "\n".join(lines) + "\n"


def _lines(text: str, start: str, user: bool) -> Iterator[str]:
    for line in text.splitlines():
        if line.startswith("ExecStart="):
            yield start
        elif not user:
            yield line
        elif line.startswith("WantedBy="):
            yield "WantedBy=default.target"
        elif not line.startswith((*_SYSTEM_ONLY, "#")):
            yield line.replace("/run/tinyast", "%t/tinyast")


def install(config: Path | None, user: bool) -> Path:
    """Write the unit. Raises SettingsError if that is not allowed."""
    path = target(user)
    text = render(config, user)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        hint = "" if user else "; run it as root, or use --user"
        raise SettingsError(f"cannot write {path}: {error.strerror}{hint}") from error
    return path
