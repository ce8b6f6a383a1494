"""Cut long WAV recordings into slices of whole windows, which different machines classify."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from daemon.cluster.entries import Entry
from daemon.cluster.fetching import Span, opened_entry
from tinyast.audio.content import Content
from tinyast.audio.wav.header import FLOAT, WavHeader, extent, read_header
from tinyast.audio.windows import WindowPlan
from tinyast.errors import AudioError

SPARE_S = 0.1  # for the rounding of windows to frames
SLICE = 64 << 20  # bytes of samples: 12 minutes of CD quality


@dataclass(frozen=True)
class Cut:
    """How recordings are cut."""

    window_s: float
    hop_s: float
    max_duration_s: float
    slice_bytes: int = SLICE

    def slices(self, entry: Entry, address: str) -> Iterator[Entry]:
        """The slices of an entry; the entry if it is short, not WAV, or cannot be read.

        Samples that are floats may be no numbers, which ends a recording where it happens: such a
        recording stays whole.
        """
        if entry.size <= 2 * self.slice_bytes or not entry.path.lower().endswith(b".wav"):
            yield entry
            return
        try:
            with opened_entry(entry, address, lambda header: (0, 0)) as fd:
                bounds = self._bounds(fd)
        except (OSError, AudioError):
            bounds = []
        if not bounds:
            yield entry
        for first, last in bounds:
            yield replace(entry, first=first, last=last)

    def _bounds(self, fd: int) -> list[tuple[int, int]]:
        content = Content(fd, os.fstat(fd).st_size, header_only=True)
        header = read_header(content)
        if header is None or header.encoding == FLOAT or not header.block_align:
            return []
        frames = extent(content, header).data_bytes // header.block_align
        if frames / header.rate > self.max_duration_s:
            return []
        count = len(WindowPlan(frames, header.rate, self.window_s, self.hop_s))
        each = max(1, int(self.slice_bytes / (self.hop_s * header.rate * header.block_align)))
        return [(first, min(first + each, count)) for first in range(0, count, each)]

    def span(self, entry: Entry) -> Span | None:
        """The bytes of a slice's windows, and a few more; None for a whole file."""
        if entry.last is None:
            return None
        first, last = entry.first, entry.last

        def bytes_of(header: WavHeader) -> tuple[int, int]:
            # A recording's last window is anchored to its end, so begins up to a hop earlier.
            begin = max(0.0, (first - 1) * self.hop_s)
            end = (last - 1) * self.hop_s + self.window_s + SPARE_S
            rate, align, start = header.rate, header.block_align, header.data_start
            return start + int(begin * rate) * align, start + int(end * rate) * align

        return bytes_of
