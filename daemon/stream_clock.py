"""When each frame of a live stream was captured, and whether frames went missing.

A stream's frames are counted and held against the monotonic clock. Blocks are never early and
often late, so the truth is in the earliest ones: the smallest offset between clock and count within
a couple of seconds. It creeps as the two clocks drift apart; a jump means that frames were lost.
"""

from __future__ import annotations

from dataclasses import dataclass

BUCKET_S = 2.0  # over which the earliest block is looked for
MAX_DRIFT = 500e-6  # of a sound card's clock; consumer cards stay within 200 parts in a million
JUMP_S = 0.05  # more than a bucket's smallest offset varies by itself
SUSPECTED_JUMP_S = 0.01  # the same where PortAudio said that something was lost


@dataclass
class StreamClock:
    """One stream, from its first block on."""

    rate: int  # Hz
    frames: int = 0  # counted, with those that were missed
    offset: float | None = None  # s of the monotonic clock at frame 0, as of now
    _bucket_from: float = 0.0
    _bucket_min: float = 0.0
    _suspected: bool = False

    def block(self, at: float, frames: int, overflow: bool = False) -> int:
        """Count a block whose last frame was there at monotonic time `at`.

        Returns the frames that went missing before it, as far as has become plain by now; they
        are counted too.
        """
        self.frames += frames
        self._suspected |= overflow
        offset = at - self.frames / self.rate
        if self.offset is None:
            self.offset = offset
            self._bucket_from, self._bucket_min = at, offset
            return 0
        self.offset = min(self.offset, offset)
        self._bucket_min = min(self._bucket_min, offset)
        if at - self._bucket_from < BUCKET_S:
            return 0
        lost = self._close_bucket(at)
        self._bucket_from, self._bucket_min = at, at - self.frames / self.rate
        return lost

    def missed(self, frames: int) -> None:
        """Count frames that are known not to come."""
        self.frames += frames

    def _close_bucket(self, at: float) -> int:
        assert self.offset is not None
        rise = self._bucket_min - self.offset
        jump = SUSPECTED_JUMP_S if self._suspected else JUMP_S
        self._suspected = False
        if rise > jump:
            lost = round(rise * self.rate)
            self.frames += lost
            return lost
        self.offset += min(max(rise, 0.0), MAX_DRIFT * (at - self._bucket_from))
        return 0

    def when(self, frame: int) -> float:
        """The monotonic time at which a frame was captured."""
        assert self.offset is not None
        return self.offset + frame / self.rate
