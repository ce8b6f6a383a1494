"""The bytes of an open file by their place: of a small one, all of them read at once."""

from __future__ import annotations

import os

SMALL = 1 << 20  # bytes; a window of most recordings
BEGINNING = 1_024  # bytes of any other file that are read first: most headers are shorter


class Content:
    """What is in file descriptor `fd`, of `size` bytes, which stays the caller's to close.

    What was read first is given again however the file changes: who has to know asks the system.
    """

    def __init__(self, fd: int, size: int, header_only: bool = False) -> None:
        self.fd, self.size = fd, size
        ahead = BEGINNING if header_only or size > SMALL else size
        self._first = memoryview(os.pread(fd, ahead, 0))

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return len(self._first)

    def let_go(self) -> None:
        """Hold no more than the beginning, and read the rest again when it is asked for."""
        self._first = memoryview(bytes(self._first[:BEGINNING]))

    def view(self, length: int, offset: int) -> memoryview:
        """`length` bytes from `offset` on, fewer where the file ends before."""
        end = offset + length
        if end <= len(self._first):
            return self._first[offset:end]
        return memoryview(os.pread(self.fd, length, offset))

    def read(self, length: int, offset: int) -> bytes:
        """As `view`, in bytes of their own."""
        return bytes(self.view(length, offset))
