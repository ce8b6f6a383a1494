"""Cuts a live stream into overlapping windows, so that every frame that came is in one of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinyast.arrays import Float


@dataclass(frozen=True, eq=False)
class Piece:
    """One window, or what there is of one where the stream broke off."""

    start: int  # run frame of its first sample
    samples: Float  # (n,), at most a window long


class Cutter:
    """One stream of a run. Frames count over the whole run, with those that were lost.

    Windows begin every `hop_s` from `begin` on, and anew where frames went missing; what came
    before a loss or the end is heard in a last window that ends there, as in a recording.
    """

    def __init__(self, rate: int, window_s: float, hop_s: float, begin: int) -> None:
        self.size = round(window_s * rate)
        self._hop = hop_s * rate
        self._blocks: list[Float] = []
        self._last = begin - 1  # start of the newest window: each begins later than the one before
        self._align(begin)

    def _align(self, frame: int) -> None:
        """The next sample is run frame `frame`, and a window begins there."""
        self._blocks = []
        self._base = self._begins = self._end = self._reached = frame
        self._number = 0

    @property
    def end(self) -> int:
        """The run frame that comes next."""
        return self._end

    @property
    def reached(self) -> int:
        """One past the newest run frame that has been in a window, or where windows began."""
        return self._reached

    @property
    def _next(self) -> int:
        return self._base + round(self._number * self._hop)

    def feed(self, samples: Float) -> Iterator[Piece]:
        """Take in samples; give each window that is whole."""
        self._blocks.append(samples)
        self._end += len(samples)
        while self._end >= self._next + self.size:
            piece = self._cut(self._next, self._next + self.size)
            self._number += 1
            yield piece

    def finish(self) -> Iterator[Piece]:
        """The stream breaks off here: give what has not been in any window yet."""
        yield from self._rest(self._end)

    def lose(self, after: int, frames: int) -> Iterator[Piece]:
        """`frames` are missing after run frame `after`: windows end there and begin anew."""
        after = min(max(after, self._begins), self._end)
        came_since = self._held()[after - self._begins :]
        yield from self._rest(after)
        # What came since may have begun a window already, before the loss was plain.
        begin = max(after + frames, self._last + 1)
        self._align(begin)
        yield from self.feed(came_since[begin - after - frames :])

    def _rest(self, end: int) -> Iterator[Piece]:
        unheard = max(self._reached, self._next if self._hop > self.size else 0)
        start = max(self._begins, end - self.size)
        if self._hop > self.size:  # what lies between such windows is not wanted
            start = max(start, self._next)
        if end > unheard and start > self._last:
            yield self._cut(start, end)

    def _held(self) -> Float:
        if len(self._blocks) != 1:
            self._blocks = [np.concatenate([np.empty(0, np.float32), *self._blocks])]
        return self._blocks[0]

    def _cut(self, start: int, end: int) -> Piece:
        """Frames `start` to `end`, and forget those before them."""
        held = self._held()[start - self._begins :]
        self._blocks, self._begins = [held], start
        self._reached, self._last = end, start
        return Piece(start, held[: end - start])
