"""Bytes of an open file by offset; a small file is read once as a whole."""

from __future__ import annotations

import os

SMALL = 1 << 20  # bytes; a window of most recordings
BEGINNING = 1_024  # bytes to read first of a larger file: most headers are shorter


class Content:
    """The content of file descriptor `fd`, of `size` bytes; the caller closes `fd`.

    Bytes read at the start are kept even if the file changes; compare `fstat` to detect that.
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
        """Keep only the beginning in memory; read the rest again on demand."""
        self._first = memoryview(bytes(self._first[:BEGINNING]))

    def view(self, length: int, offset: int) -> memoryview:
        """`length` bytes from `offset` on; fewer if the file ends earlier."""
        end = offset + length
        if end <= len(self._first):
            return self._first[offset:end]
        return memoryview(os.pread(self.fd, length, offset))

    def read(self, length: int, offset: int) -> bytes:
        """Like `view`, as a copy."""
        return bytes(self.view(length, offset))
