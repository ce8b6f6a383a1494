"""Open files safely, and give files that root creates to their owner."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.host.beneath import open_file


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
