"""The ledger of files: which version of a file is due, given the newest row of its path."""

from __future__ import annotations

import os
from typing import NamedTuple

from msgspec import Struct

from daemon.protocol.file_ids import file_id

FINISHED = ("done", "failed", "incomplete")  # final states of a ledger row


def _in_64_bits(time_ns: int) -> int:
    """Some file systems hold times of change beyond the year 2262, and SQLite no such number."""
    if -(2**63) <= time_ns < 2**63:
        return time_ns
    return -(2**63) if time_ns < 0 else 2**63 - 1


class Identity(NamedTuple):  # made and compared in less than half of a dataclass's time
    """What tells one version of a file from another without reading it."""

    inode: int
    size: int  # bytes
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Identity:
        return cls(
            stat.st_ino, stat.st_size, _in_64_bits(stat.st_mtime_ns), _in_64_bits(stat.st_ctime_ns)
        )

    def same_content(self, other: Identity) -> bool:
        """Equal but perhaps for ctime, which a hard link or chmod changes too."""
        return (self.inode, self.size, self.mtime_ns) == (other.inode, other.size, other.mtime_ns)

    def same_times(self, other: Identity) -> bool:
        """Equal but perhaps for the inode, which some file systems make up at every mount."""
        return self[1:] == other[1:]


class LedgerRow(Struct, frozen=True):
    """The newest version of one file."""

    path: bytes  # absolute
    source: str
    identity: Identity
    version: int  # counts the versions of this path from 1
    file_id: str
    state: str  # open, done, failed, incomplete or forgotten
    windows: int
    digest: bytes | None


class Claim(Struct, frozen=True):
    """One version of a file, to be worked through by one job."""

    path: bytes
    source: str
    identity: Identity
    version: int
    file_id: str
    resume: int = 0  # windows that are committed already
    noticed: float = 0.0  # time.monotonic() when the file was known to be whole
    missing: bool = False  # its header promises bytes that never came
    last_try: bool = False  # an error of its medium ends it
    same_if: LedgerRow | None = None  # not a new version if its content has this row's digest


def is_known(row: LedgerRow | None, identity: Identity) -> bool:
    """Whether the ledger holds the end of just this file, so that it need not be opened."""
    return row is not None and row.state in FINISHED and row.identity == identity


def claim(path: bytes, source: str, identity: Identity, row: LedgerRow | None) -> Claim:
    """The claim on a file that `is_known` does not cover.

    A version begun before a restart is resumed if only its inode changed. A
    finished one that has the same size and mtime is a new version only if its content differs: a
    hard link or chmod changes ctime, and some file systems have other inodes at every mount.
    """
    if row is None:
        return _version(path, source, identity, 1)
    if row.state == "open" and row.identity.same_times(identity):
        return Claim(path, source, identity, row.version, row.file_id, resume=row.windows)
    alike = row.identity[1:3] == identity[1:3]  # size and mtime
    same = row.state in FINISHED and alike and row.digest is not None
    return _version(path, source, identity, row.version + 1, row if same else None)


def _version(
    path: bytes, source: str, identity: Identity, version: int, same_if: LedgerRow | None = None
) -> Claim:
    made = file_id(path, identity.inode, identity.size, identity.mtime_ns, version)
    return Claim(path, source, identity, version, made, same_if=same_if)
