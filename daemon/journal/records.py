"""What the journal keeps and gives back, as the rest of the daemon sees it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from daemon.protocol.messages import Message

FINISHED = ("done", "failed", "incomplete")  # states of a ledger row after which nothing is due


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


@dataclass(frozen=True)
class LedgerRow:
    """The newest version of one file."""

    path: bytes  # absolute
    source: str
    identity: Identity
    version: int  # counts the versions of this path from 1
    file_id: str
    state: str  # open, done, failed, incomplete or forgotten
    windows: int
    digest: bytes | None


@dataclass(frozen=True)
class OpenEvent:
    """A sound that goes on. `body` is what its next start needs to end it; None: it ended."""

    id: str
    body: bytes | None


@dataclass(frozen=True)
class Record:
    """What is committed together: messages and the ledger row that belongs to them."""

    messages: Sequence[Message] = ()
    row: LedgerRow | None = None
    forget: bytes | None = None  # a path to classify again
    events: Sequence[OpenEvent] = ()  # sounds that began, go on or ended


@dataclass(frozen=True)
class Published:
    """A message as it went into the journal."""

    seq: int
    topic: str
    body: bytes


@dataclass(frozen=True)
class Page:
    """One answer of the journal to a replay request."""

    messages: list[Published]
    next: int  # the seq to ask on from
    oldest: int  # the oldest seq still kept; newest + 1 if none is
    newest: int
