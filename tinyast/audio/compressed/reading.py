"""The bytes of a file for a decoder that reads by itself, and errors that it does not pass on."""

from __future__ import annotations

import os

from tinyast.audio.content import Content

_ENDLESS = 1 << 50  # bytes; more than any file has
_TAG = 128  # bytes at the end of a file in which decoders look for a tag (ID3v1)


class Reader:
    """A file object over `file` from byte `start` to `end`. For one thread.

    A decoder takes an error for the end of the data: it is kept for `check` to raise. `endless`
    gives the file a length without end, for decoders that stop where they believe it must end.
    """

    def __init__(
        self, file: Content, start: int = 0, end: int | None = None, endless: bool = False
    ) -> None:
        self._file, self._start = file, start
        self.size = (file.size if end is None else end) - start  # bytes that there are
        self._length = _ENDLESS if endless else self.size
        self._at = 0
        self._problem: OSError | MemoryError | None = None

    @property
    def left(self) -> int:
        """Bytes behind the place that was read last."""
        return self.size - self._at

    def read(self, count: int = -1) -> bytes:
        """The next bytes; empty after an error."""
        if self._at >= self._length - _TAG > self.size:
            return self._nothing(count)
        left = max(0, self.left)
        try:
            data = self._file.read(left if count < 0 else min(count, left), self._start + self._at)
        except (OSError, MemoryError) as error:
            self._problem = self._problem or error
            return b""
        self._at += len(data)
        return data

    def _nothing(self, count: int) -> bytes:
        """The last bytes of a file without end, which hold no tag."""
        data = bytes(min(max(0, count), self._length - self._at))
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to another place."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def check(self) -> None:
        """Raise the OSError or MemoryError that a read met since the last check."""
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem
