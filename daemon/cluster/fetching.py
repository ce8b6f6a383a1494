"""Open an entry for reading: a file in its place, an object as a copy without a name."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from daemon.cluster.entries import Entry
from daemon.cluster.listing import is_denied
from daemon.cluster.storage import place, words
from daemon.host.files import opened
from tinyast.audio.content import Content
from tinyast.audio.wav.header import WavHeader, read_header
from tinyast.errors import AudioError

BLOCK = 8 << 20  # bytes of an object in memory
HEAD = 1 << 20  # bytes that hold the header of nearly every file
TAIL = 1 << 18  # bytes at the end that may hold metadata
TRIES = 3
PAUSE_S = 1.0  # before another try

# The first byte to copy of a WAV with this header, and one past the last.
Span = Callable[[WavHeader], tuple[int, int]]


@contextmanager
def opened_entry(entry: Entry, address: str, span: Span | None = None) -> Iterator[int]:
    """A descriptor of an entry; `address` is its path with the options of its store.

    With `span`, a copy of an object has the header, the samples in that span and the end, and
    holes between them. Raises OSError, and AudioError `vanished` or `permission_denied`.
    """
    if not entry.is_remote:
        with opened(entry.path) as fd:
            yield fd
        return
    with tempfile.TemporaryFile(prefix="tinyast-") as copy:
        for attempt in range(1, TRIES + 1):
            try:
                _copy(address, copy.fileno(), span)
                break
            except OSError as error:
                _raise_own(error)
                if attempt == TRIES:
                    raise OSError(error.errno or errno.EIO, words(error)) from error
                time.sleep(PAUSE_S * attempt)
        os.utime(copy.fileno(), ns=(entry.mtime_ns, entry.mtime_ns))
        yield copy.fileno()


def _raise_own(error: OSError) -> None:
    """Raise AudioError for an error that another try does not change."""
    if isinstance(error, FileNotFoundError):
        raise AudioError("vanished", "it was gone before it was read") from error
    if is_denied(error):
        raise AudioError("permission_denied", words(error)) from error


def _copy(address: str, fd: int, span: Span | None) -> None:
    source = place(address)
    with source.files.open_input_file(source.path) as remote:
        size = remote.size()
        os.ftruncate(fd, 0)
        os.ftruncate(fd, size)

        def take(start: int, end: int) -> None:
            for at in range(start, min(end, size), BLOCK):
                data = remote.read_at(min(BLOCK, end - at, size - at), at)
                os.pwrite(fd, data, at)

        if span is None:
            take(0, size)
            return
        take(0, HEAD)
        header = read_header(Content(fd, size, header_only=True))
        if header is None:
            return
        first, last = span(header)
        take(max(first, HEAD), last)
        samples_end = header.data_start + (header.data_bytes or size)
        take(max(samples_end, HEAD), samples_end + TAIL)
        take(max(size - TAIL, HEAD), size)
