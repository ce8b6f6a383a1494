"""`tinyastd install-service`: the systemd unit for this installation, and settings that work."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import SettingsError
from daemon.host.access import unreachable, unreadable
from daemon.settings.loading import load, read_file
from daemon.settings.paths import expanded
from tinyast.shipped import find_shipped

NAME = "tinyastd.service"
FOLDER = Path("/var/spool/tinyast")  # of recordings, for the system's service
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
SETTINGS = """\
# Settings of the service tinyastd; {all_settings} lists all of them.
# After a change: `{systemctl} reload tinyastd` for thresholds and lists, else
# `{systemctl} restart tinyastd`.

[[folder]]
path = {folder}
"""


@dataclass(frozen=True)
class Service:
    """A service and the files that make it."""

    unit: Path
    systemctl: str  # with `--user` for a user's own
    settings: Path
    folders: tuple[str, ...] = ()  # that it watches
    settings_written: bool = False  # they were not there before
    warnings: tuple[str, ...] = ()


def shipped(name: str) -> Path:
    """A file of config/, in the package or checkout. Raises SettingsError."""
    if (found := find_shipped(name)) is None:
        raise SettingsError(f"this installation came without {name}")
    return found


def command() -> list[str]:
    """The words by which the unit starts this installation's daemon."""
    script = Path(sys.executable).with_name("tinyastd")
    if script.exists():
        return [str(script)]
    found = shutil.which("tinyastd")
    return [os.path.abspath(found)] if found else [sys.executable, "-P", "-m", "daemon"]


def _quoted(word: str, variables: bool = True) -> str:
    """A word of ExecStart= (systemd.service(5), "Command lines") as it stands in the unit.

    systemd puts no `variables` into the program's own path, so a `$` stays there.
    """
    for special, written in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%")):
        word = word.replace(special, written)
    if variables:
        word = word.replace("$", "$$")
    return word if re.fullmatch(r"[\w/.,:@=+%$-]+", word, re.ASCII) else f'"{word}"'


def target(user: bool) -> Path:
    """The path of the unit, for the whole system or for this user, who needs a home."""
    if not user:
        return Path("/etc/systemd/system") / NAME
    return _configuration() / "systemd" / "user" / NAME


def _configuration() -> Path:
    given = os.environ.get("XDG_CONFIG_HOME")
    return Path(given or expanded("~/.config", "name a folder in XDG_CONFIG_HOME"))


def usual_settings(user: bool) -> Path:
    """The default place of the service's settings."""
    return (_configuration() if user else Path("/etc")) / "tinyast" / "tinyast.toml"


def installed() -> Service | None:
    """The service of this user, else of the system; None without one."""
    packaged = Path("/lib/systemd/system") / NAME  # of the Debian package
    units = [(False, target(False)), (False, packaged)]
    with suppress(SettingsError):  # a user without a home has no service
        units.insert(0, (True, target(True)))
    for user, unit in units:
        if unit.is_file():
            return Service(unit, _systemctl(user), usual_settings(user))
    return None


def _systemctl(user: bool) -> str:
    return "systemctl --user" if user else "systemctl"


def render(config: Path | None, user: bool) -> str:
    """The unit's text."""
    config = usual_settings(user) if config is None else config
    program, *words = command()
    words += ["run", "--config", str(config.absolute())]
    start = " ".join(["ExecStart=" + _quoted(program, variables=False), *map(_quoted, words)])
    lines = list(_lines(shipped(NAME).read_text(encoding="utf-8"), start, user))
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


def install(config: Path | None, user: bool, watch: Path | None = None) -> Service:
    """Write the unit, and settings that watch a folder unless there are some.

    `watch` is the folder of new settings. Raises SettingsError if a file cannot be written, or the
    daemon could not start: the settings do not fit a service, or its user cannot reach this
    installation.
    """
    if not user and (place := unreachable(command()[0])) is not None:
        raise SettingsError(
            f"the service runs as a user that cannot enter {place}, where this installation is; "
            "install tinyast into /opt/tinyast, or use --user"
        )
    settings = (usual_settings(user) if config is None else config).absolute()
    path, new = target(user), not settings.exists()
    try:
        if new:
            _write_settings(settings, _folder(watch, user), user)
        elif watch is not None:
            raise SettingsError(f"{settings} exists; name the folder in it, not with --watch")
        folders = _watched(settings, user)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(settings, user), encoding="utf-8")
    except OSError as error:
        hint = "" if user else "; run it as root, or use --user"
        raise SettingsError(
            f"cannot write {error.filename or path}: {error.strerror}{hint}"
        ) from error
    warnings = () if user else tuple(filter(None, map(unreadable, map(Path, folders))))
    return Service(path, _systemctl(user), settings, folders, new, warnings)


def _folder(watch: Path | None, user: bool) -> Path:
    """The folder to watch; the usual one is made. Raises SettingsError, OSError."""
    if watch is not None:
        if not watch.is_dir():
            raise SettingsError(f"there is no folder {watch} to watch; make it first")
        return watch.absolute()
    own = "~/tinyast-recordings"
    folder = Path(expanded(own, "name a folder with --watch")) if user else FOLDER
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    return folder


def _write_settings(path: Path, folder: Path, user: bool) -> None:
    text = SETTINGS.format(
        all_settings=shipped("tinyast.toml"),
        systemctl=_systemctl(user),
        folder='"' + str(folder).replace("\\", "\\\\").replace('"', '\\"') + '"',
    )
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)


def _watched(settings: Path, user: bool) -> tuple[str, ...]:
    """The folders in the settings. Raises SettingsError unless a service finds them."""
    start = "the home of its user" if user else "/"
    for folder in read_file(settings).folder:
        if not os.path.isabs(os.path.expanduser(folder.path)):
            raise SettingsError(
                f"the settings {settings} watch {folder.path}, which a service looks for in "
                f"{start}; write the absolute path of a folder in [[folder]]"
            )
    folders = tuple(folder.path for folder in load(settings, environ={}).folder)
    for path in folders:
        if not os.path.isdir(path):
            raise SettingsError(
                f"the settings {settings} watch {path}, and there is no such folder; make it, or "
                "name another in [[folder]]"
            )
    return folders
