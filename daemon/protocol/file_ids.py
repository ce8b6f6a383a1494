"""The `file_id` of one version of a file: what it is made of, and whether a file has it."""

from __future__ import annotations

import os

from daemon.protocol.messages import digest

VERSIONS = 2_000  # of one path that are tried: 10 ms


def file_id(path: bytes, inode: int, size: int, mtime_ns: int, version: int) -> str:
    """The id of a version of the file at `path`, absolute; versions of a path count from 1."""
    return digest(path, inode, size, mtime_ns, version)


def is_version(wanted: str, path: bytes, found: os.stat_result) -> bool:
    """Whether `found`, wherever it lies now, is the file that had the id `wanted` at `path`.

    False for a copy, and for a file system that makes up its inode numbers.
    """
    identity = found.st_ino, found.st_size, found.st_mtime_ns
    return any(file_id(path, *identity, n) == wanted for n in range(1, VERSIONS + 1))
