"""The work of a job: files by their path or address, and slices of long ones."""

from __future__ import annotations

import msgspec
import numpy as np
import xxhash
from msgspec import Struct
from numpy.typing import NDArray

MISSING = -1  # the size of a file that is not there
RECENT = 1 << 16


class Entry(Struct, frozen=True, array_like=True):
    """A file, or some windows of it."""

    path: bytes  # absolute, or an address with ://
    size: int = MISSING  # bytes
    mtime_ns: int = 0
    first: int = 0  # window
    last: int | None = None  # one past the last window; None for all

    @property
    def is_remote(self) -> bool:
        return is_remote(self.path.decode(errors="surrogateescape"))

    @property
    def key(self) -> int:
        """64 bits that tell entries apart: the chance that two of a million agree is 3e-8."""
        return xxhash.xxh3_64_intdigest(self.path, self.first)


class Part(Struct, frozen=True, array_like=True):
    """Entries whose rows make one Parquet file."""

    partition: str  # the sub-folder of the output, such as date=2024-06-01; may be empty
    entries: tuple[Entry, ...]

    def encoded(self) -> bytes:
        return msgspec.msgpack.encode(self)


def decoded(data: bytes) -> Part:
    """Raises msgspec.DecodeError."""
    return msgspec.msgpack.decode(data, type=Part)


def is_remote(path: str) -> bool:
    """Whether it is an address, not a path of this machine's file systems."""
    return "://" in path and not path.startswith(("/", "file://"))


class Seen:
    """A set of entries' keys that takes 8 bytes for each."""

    def __init__(self) -> None:
        self._sorted: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._recent: set[int] = set()

    def add(self, key: int) -> bool:
        """Add one; whether it is new."""
        if key in self._recent:
            return False
        if len(self._sorted):
            at = int(np.searchsorted(self._sorted, np.uint64(key)))
            if at < len(self._sorted) and int(self._sorted[at]) == key:
                return False
        self._recent.add(key)
        if len(self._recent) >= RECENT:
            more = np.fromiter(self._recent, np.uint64, len(self._recent))
            self._sorted = np.sort(np.concatenate([self._sorted, more]))
            self._recent.clear()
        return True
