"""One daemon to a state directory, one to an ipc endpoint."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from daemon.errors import StartError


class Lock:
    """An exclusive lock on a file, held until `release` or the end of the process.

    Raises StartError that names the process holding it.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(f"cannot write {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise StartError(
                f"{what} is in use by another tinyastd (process {holder}); stop that one first"
            ) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._fd)
