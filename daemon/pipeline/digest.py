"""A digest of a file's content, computed while its windows are read."""

from __future__ import annotations

import xxhash

from tinyast.audio.content import Content

_BLOCK = 1 << 20  # bytes read at a time for a digest
_AT_ONCE = 8 << 20  # bytes digested in one step of a job: some 10 ms


class Digest:
    """A digest of an open file's content, computed while its windows are read.

    XXH3 of 128 bits: it distinguishes versions of one file, and need not resist forgery; SHA-256
    would take a twentieth of the time for a window.
    """

    def __init__(self, file: Content) -> None:
        self._file, self._at = file, 0
        self._hash = xxhash.xxh3_128()

    def advance(self, done: float) -> bool:
        """Digest the content up to the fraction `done` of the file; return whether it got there.

        At most `_AT_ONCE` bytes per call, so that a large file does not delay others.
        """
        until = self._file.size if done >= 1 else int(self._file.size * done)
        stop = min(until, self._at + _AT_ONCE)
        while self._at < stop:
            block = self._file.view(min(_BLOCK, stop - self._at), self._at)
            if not block:
                return True
            self._hash.update(block)
            self._at += len(block)
        return self._at >= until

    def value(self) -> bytes:
        return self._hash.digest()
