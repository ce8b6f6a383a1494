"""Temporary file systems for tests."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, option: str) -> Iterator[Path]:
    """A new tmpfs at `folder`, mounted with `option`; skips the test if mounting is refused."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", option, "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def fill_disk(disk: Path, leave: int = 0) -> Path:
    """Use up a file system but for `leave` bytes, while a daemon may write there too.

    Returns the file that takes the room.
    """
    ballast, room = disk / "ballast", os.statvfs(disk)
    left = room.f_bavail * room.f_frsize - leave
    with ballast.open("wb", buffering=0) as file:
        try:
            while left > 0:
                left -= file.write(bytes(left))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return ballast
