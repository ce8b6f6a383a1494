"""A record of the newest seq outside the journal: it reveals a journal that was put back.

A snapshot that is restored, or a disk that lost its last writes, takes the journal back to an
earlier state. The next messages would then reuse numbers that subscribers know, under the same
UUID. One copy of the mark lies in the state directory, another beside it if that is allowed, so
that a state directory put back as a whole is noticed too.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

NAME = "newest"


class Watermark:
    """Both copies, written after each commit. A copy that cannot be kept is done without."""

    def __init__(self, state: Path) -> None:
        beside = state.absolute().parent / f".{state.absolute().name}.{NAME}"
        places = [state / NAME]
        if _is_private(beside.parent):
            places.append(beside)
        self._fds = [fd for place in places if (fd := _open(place)) is not None]

    def highest(self, journal: str) -> int:
        """The newest seq that was ever committed to `journal`, as far as the marks tell."""
        return max((_read(fd, journal) for fd in self._fds), default=0)

    def write(self, journal: str, seq: int) -> None:
        line = f"{journal} {seq:020d}\n".encode()  # of one length, so that it is overwritten whole
        for fd in self._fds:
            with suppress(OSError):
                os.pwrite(fd, line, 0)

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds = []


def _is_private(folder: Path) -> bool:
    """Whether only this user, or root, can change what lies in `folder`."""
    try:
        found = folder.stat()
    except OSError:
        return False
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _open(path: Path) -> int | None:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except OSError:
        return None


def _read(fd: int, journal: str) -> int:
    try:
        name, seq = os.pread(fd, 128, 0).decode("ascii").split()
        return int(seq) if name == journal else 0
    except (OSError, ValueError):  # new, torn or of something else
        return 0
