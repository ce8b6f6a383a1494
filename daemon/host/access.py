"""Can the service's own user, which shares no group with anyone, reach a path?"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import daemon

HIDDEN = (Path("/tmp"), Path("/var/tmp"))  # PrivateTmp= gives the service empty ones


def unreachable(program: str) -> Path | None:
    """The first folder on the way to this installation that others may not enter; None if any may.

    `program` starts the daemon.
    """
    needed = (program, sys.executable, sys.base_prefix, daemon.__file__)
    for path in needed:
        for folder in _ways(Path(path)):
            if folder in HIDDEN or not _others_may(folder, stat.S_IXOTH):
                return folder
    return None


def _ways(path: Path) -> Iterator[Path]:
    """The folders above a path, as it is written and with its links followed."""
    for way in (Path(os.path.abspath(path)), Path(os.path.realpath(path))):
        yield from reversed(way.parents)


def unreadable(folder: Path) -> str | None:
    """A warning if others may not list a folder; None if they may."""
    for above in folder.parents:
        if above in HIDDEN:
            return f"the service has a private {above} and does not see {folder}; use another"
    if all(_others_may(each, stat.S_IXOTH) for each in _ways(folder / "file")) and _others_may(
        folder, stat.S_IROTH
    ):
        return None
    return (
        f"{folder} cannot be read by every user, and the service runs as a separate user: "
        f"`chmod o+rx {folder}` and the folders above it, or use --user"
    )


def _others_may(path: Path, bit: int) -> bool:
    try:
        return bool(path.stat().st_mode & bit)
    except OSError:
        return False
