"""Refuse files that other users can change: whoever writes them controls the daemon."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

import daemon
from daemon.errors import StartError


class User(Struct, frozen=True):
    """The user that runs the daemon, by number, and its group."""

    uid: int
    gid: int

    @staticmethod
    def this() -> User:
        return User(os.geteuid(), os.getegid())


class Exposure(Struct, frozen=True):
    """A path that others can change, in words, and the fix."""

    text: str
    fix: str


def exposure(
    path: Path, what: str, sticky: bool = False, user: User | None = None
) -> Exposure | None:
    """How other users than root and `user` (by default this one) can change `path`, if they can.

    The owner of the daemon's own code counts as this user. With `sticky`, a directory may be like
    /tmp, where no one can replace what belongs to others. A path that is not there passes.
    """
    user = user or User.this()
    try:
        found = path.stat()
    except OSError:
        return None
    if found.st_uid not in {0, user.uid, Path(daemon.__file__).stat().st_uid}:
        return Exposure(
            f"{what} {path} belongs to user {found.st_uid}, who can change it",
            f"run `chown {user.uid} {path}`, or name another",
        )
    if sticky and stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        return None
    group = found.st_mode & stat.S_IWGRP and found.st_gid not in (0, user.gid)
    if found.st_mode & stat.S_IWOTH or group:
        return Exposure(f"{what} {path} can be changed by others", f"run `chmod go-w {path}`")
    return None


def tree_exposures(folder: Path, what: str, user: User | None = None) -> Iterator[Exposure]:
    """The exposures of a folder and of the files in it."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        names = []
    for path in (folder, *(folder / name for name in names)):
        if found := exposure(path, what, user=user):
            yield found


def check_private(path: Path, what: str, sticky: bool = False) -> None:
    """Raise StartError, with the fix, if `path` has an `exposure`."""
    try:
        found = exposure(path, what, sticky)
    except OSError as error:  # of the daemon's own code
        raise StartError(f"cannot see who can change {path} now: {error}") from error
    if found:
        raise StartError(f"{found.text}; {found.fix}")


def check_private_tree(folder: Path, what: str) -> None:
    """The same for a folder and the files in it."""
    for found in tree_exposures(folder, what):
        raise StartError(f"{found.text}; {found.fix}")
