"""Locks: one daemon per state directory, one per ipc endpoint."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from daemon.errors import StartError
from daemon.host.files import open_own
from daemon.host.trust import check_private

FOLDER_TRIES, FOLDER_AGAIN_S = 5, 0.1  # systemd-tmpfiles locks a folder while it looks through it


def lock_path(state: Path) -> Path:
    """The lock file of the daemon that uses a state directory."""
    return state / "lock"


class Lock:
    """An exclusive lock on a file, held until `release` or the end of the process.

    With `folder`, it holds the folder of that file too, for people delete lock files. Raises
    StartError that names the process holding it.
    """

    def __init__(self, path: Path, what: str, folder: bool = False) -> None:
        self._folder = -1
        self._fd = open_own(path)
        try:
            check_private(path, "the lock")
        except StartError:
            os.close(self._fd)
            raise
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = _written(self._fd)
            os.close(self._fd)
            raise StartError(
                f"{what} is in use by another tinyastd (process {pid}); stop that one first"
            ) from error
        if folder:
            self._lock_folder(path, what)
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def _lock_folder(self, path: Path, what: str) -> None:
        self._folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for _ in range(FOLDER_TRIES):
            try:
                fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(FOLDER_AGAIN_S)
            except OSError:  # a network file system that locks no folders
                return
            else:
                return
        self.release()
        raise StartError(
            f"{what} is in use by another tinyastd, whose lock {path} was deleted; stop that one "
            "first"
        )

    def release(self) -> None:
        for fd in (self._fd, self._folder):
            if fd >= 0:
                os.close(fd)


def holder(path: Path) -> str | None:
    """The holder of the lock on `path`, as it describes itself; None if free."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _written(fd)
    finally:
        os.close(fd)
    return None


def _written(fd: int) -> str:
    return os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
