"""Cut a live stream into overlapping windows that cover every captured frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from msgspec import Struct

from tinyast.arrays import Float


class Piece(Struct, frozen=True, eq=False):
    """One window, or a shorter one if the stream broke off."""

    start: int  # run frame of its first sample
    samples: Float  # (n,), at most a window long


class Cutter:
    """One stream of a run. Frame numbers cover the whole run, including lost frames.

    Windows begin every `hop_s` from `begin` on, and start again after a loss. Before a loss and at
    the end, a last window ends exactly there, as in a recording.
    """

    def __init__(self, rate: int, window_s: float, hop_s: float, begin: int) -> None:
        self.size = round(window_s * rate)
        self._hop = hop_s * rate
        self._blocks: list[Float] = []
        self._last = begin - 1  # start of the newest window: each begins later than the one before
        self._align(begin)

    def _align(self, frame: int) -> None:
        """Continue at run frame `frame`, where a window begins."""
        self._blocks = []
        self._base = self._begins = self._end = self._reached = frame
        self._number = 0

    @property
    def end(self) -> int:
        """The next run frame."""
        return self._end

    @property
    def reached(self) -> int:
        """One past the newest run frame in a window, or the start of the windows."""
        return self._reached

    @property
    def _next(self) -> int:
        return self._base + round(self._number * self._hop)

    def feed(self, samples: Float) -> Iterator[Piece]:
        """Take in samples; yield each complete window."""
        self._blocks.append(samples)
        self._end += len(samples)
        while self._end >= self._next + self.size:
            piece = self._cut(self._next, self._next + self.size)
            self._number += 1
            yield piece

    def finish(self) -> Iterator[Piece]:
        """End the stream: yield the frames that are not in any window yet."""
        yield from self._rest(self._end)

    def lose(self, after: int, frames: int) -> Iterator[Piece]:
        """`frames` are lost after run frame `after`: end the windows there and start again."""
        after = min(max(after, self._begins), self._end)
        came_since = self._held()[after - self._begins :]
        yield from self._rest(after)
        # Later frames may have begun a window already, before the loss was certain.
        begin = max(after + frames, self._last + 1)
        self._align(begin)
        yield from self.feed(came_since[begin - after - frames :])

    def _rest(self, end: int) -> Iterator[Piece]:
        unheard = max(self._reached, self._next if self._hop > self.size else 0)
        start = max(self._begins, end - self.size)
        if self._hop > self.size:  # skip the frames between such windows
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
