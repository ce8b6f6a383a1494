"""Date each frame of a live stream, and detect lost frames.

It counts a stream's frames and compares the count with the monotonic clock. Blocks often arrive
late but never early, so the smallest offset between clock and count within two seconds is the
best one. This offset drifts slowly as the clocks diverge; a jump means that frames were lost.
"""

from __future__ import annotations

from dataclasses import dataclass

BUCKET_S = 2.0  # to search for the earliest block in
BUCKET_BLOCKS = 10  # at least, with blocks of any size
MAX_DRIFT = 500e-6  # of a sound card's clock; consumer cards stay within 200 parts in a million
JUMP_S = 0.05  # more than the normal variation of a bucket's smallest offset
SUSPECTED_JUMP_S = 0.01  # the same if PortAudio reported a loss
CERTAIN_JUMP_S = (
    0.5  # a smaller one must last for two buckets, because the machine may be very busy
)
SUSPECTED_BUCKETS = 3  # a loss shows in the two buckets after its own


@dataclass(frozen=True)
class Loss:
    """Lost frames."""

    after: int  # frames of the stream before them
    frames: int


@dataclass
class StreamClock:
    """One stream, from its first block on."""

    rate: int  # Hz
    frames: int = 0  # counted, including missed ones
    offset: float | None = None  # current estimate of the clock at frame 0, s
    _bucket_from: float = 0.0
    _bucket_min: float = 0.0
    _bucket_blocks: int = 0
    _suspected: int = 0  # buckets that accept a small jump
    _high: float | None = None  # s that the last bucket was above the offset, if it was
    _on_time: int = 0  # frames before this one cannot be missing

    def block(self, at: float, frames: int, overflow: bool = False) -> Loss | None:
        """Count a block whose last frame arrived at `clock()` time `at`.

        Returns and counts a loss once it is certain, within three buckets.
        """
        self.frames += frames
        if overflow:
            self._suspected = SUSPECTED_BUCKETS
        offset = at - self.frames / self.rate
        if self.offset is None:
            self.offset = offset
            self._bucket_from, self._bucket_min = at, offset
            self._on_time = self.frames
            return None
        self.offset = min(self.offset, offset)
        self._bucket_min = min(self._bucket_min, offset)
        if offset - self.offset < self._jump / 2:
            self._on_time = self.frames
        self._bucket_blocks += 1
        if at - self._bucket_from < BUCKET_S or self._bucket_blocks < BUCKET_BLOCKS:
            return None
        loss = self._close_bucket(at)
        self._bucket_from, self._bucket_min = at, at - self.frames / self.rate
        self._bucket_blocks = 0
        return loss

    def missed(self, frames: int) -> None:
        """Count frames that are known to be lost."""
        self.frames += frames
        self._on_time = self.frames

    @property
    def _jump(self) -> float:
        return SUSPECTED_JUMP_S if self._suspected else JUMP_S

    def _close_bucket(self, at: float) -> Loss | None:
        assert self.offset is not None
        rise, jump = self._bucket_min - self.offset, self._jump
        self._suspected = max(0, self._suspected - 1)
        if rise > jump:
            if self._high is None and rise < CERTAIN_JUMP_S:
                self._high = rise
                return None
            certain = rise if self._high is None else min(rise, self._high)
            loss = Loss(self._on_time, round(certain * self.rate))
            self.frames += loss.frames
            self._on_time = self.frames
            self._high = None
            return loss
        self._high = None
        self.offset += min(max(rise, 0.0), MAX_DRIFT * (at - self._bucket_from))
        return None

    def when(self, frame: int) -> float:
        """The `clock()` time at which a frame was captured."""
        assert self.offset is not None
        return self.offset + frame / self.rate
