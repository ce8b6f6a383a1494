"""Refuse files that other users can change: whoever writes them controls the daemon."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import daemon
from daemon.errors import StartError


def check_private(path: Path, what: str, sticky: bool = False) -> None:
    """Raise StartError, with the fix, if other users than root and this one can change `path`.

    The owner of the daemon's own code counts as this user. With `sticky`, a directory may be like
    /tmp, where no one can replace what belongs to others. A path that is not there passes.
    """
    try:
        found = path.stat()
    except OSError:
        return
    if found.st_uid not in _trusted():
        raise StartError(
            f"{what} {path} belongs to user {found.st_uid}, who can change it; run "
            f"`chown {os.geteuid()} {path}`, or name another"
        )
    if sticky and stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        return
    group = found.st_mode & stat.S_IWGRP and found.st_gid not in (0, os.getegid())
    if found.st_mode & stat.S_IWOTH or group:
        raise StartError(f"{what} {path} can be changed by others; run `chmod go-w {path}`")


def check_private_tree(folder: Path, what: str) -> None:
    """The same for a folder and the files in it."""
    check_private(folder, what)
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        check_private(folder / name, what)


def _trusted() -> set[int]:
    code = Path(daemon.__file__)
    return {0, os.geteuid(), code.stat().st_uid}
