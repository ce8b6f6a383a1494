"""Open files safely, tell when they were made, and give files that root creates to their owner."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.errors import StartError
from daemon.host.beneath import open_file

_AT_FDCWD, _NOT_FOLLOWED = -100, 0x100
_STATX_BTIME = 0x800

_libc = ctypes.CDLL(None)


class _Statx(ctypes.Structure):
    """struct statx of statx(2), with the fields that are read here."""

    _fields_ = (
        ("mask", ctypes.c_uint32),
        ("_before", ctypes.c_uint8 * 76),
        ("born_s", ctypes.c_int64),
        ("born_ns", ctypes.c_uint32),
        ("_after", ctypes.c_uint8 * 164),
    )


def birth(path: bytes) -> int:
    """When what is at `path` was made, in ns since 1970; 0 if the system does not say."""
    found = _Statx()
    if not hasattr(_libc, "statx"):
        return 0
    if _libc.statx(_AT_FDCWD, path, _NOT_FOLLOWED, _STATX_BTIME, ctypes.byref(found)):
        return 0
    known = found.mask & _STATX_BTIME
    return int(found.born_s) * 10**9 + int(found.born_ns) if known else 0


def give_to_owner_of(folder: Path, fd: int) -> None:
    """Give an open file or directory to the owner of `folder`, if the process runs as root.

    Raises OSError.
    """
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)


@contextmanager
def opened(path: bytes | Path, root: bytes | None = None) -> Iterator[int]:
    """A descriptor of the file `path`, open for reading.

    Raises OSError: ELOOP if the file is a symbolic link or, with a folder `root` above it, if there
    is a link anywhere below `root`.
    """
    if root is None:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    else:
        fd = open_file(root, os.fsencode(path))
    try:
        yield fd
    finally:
        os.close(fd)


def open_own(path: Path) -> int:
    """A descriptor of the daemon's own file `path`, to read and write; made if it is not there.

    Raises StartError, also for a link, a named pipe and anything else but a regular file.
    """
    try:
        link = path.is_symlink()
        if link or (path.exists() and not path.is_file()):
            what = "a link" if link else "not a regular file"
            raise StartError(f"cannot write {path}: it is {what}; remove it")
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(path, flags, 0o600)
    except OSError as error:
        raise StartError(f"cannot write {path}: {error.strerror}") from error
