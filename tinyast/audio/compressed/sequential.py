"""Read in any order recordings that can only be decoded from beginning to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from tinyast.arrays import Float
from tinyast.audio.samples import BLOCK, checked
from tinyast.errors import AudioError

SKIPPED = 1 << 13  # frames decoded at once and discarded


class FrameStream(Protocol):
    """Decoded sound from the first frame on."""

    def take(self, frames: int) -> Float:
        """The next frames, (n, channels); fewer than `frames` at the end. Raises AudioError."""
        ...

    def close(self) -> None: ...


class Sequential:
    """Reads spans of frames from streams that `begin` starts at the first frame.

    Spans in rising order cost one pass, also if they overlap; one further back starts again.
    """

    def __init__(self, begin: Callable[[], FrameStream], channels: int) -> None:
        self._begin, self._channels = begin, channels
        self._stream: FrameStream | None = None
        self._kept = np.empty((0, channels), np.float32)  # the last span read
        self._at = 0  # the frame that follows it

    def count(self) -> tuple[int, AudioError | None]:
        """The number of frames, by decoding them all, and the error that they end in, if any.

        Raises AudioError if not even one can be decoded.
        """
        stream, frames = self._begin(), 0
        try:
            while got := len(stream.take(min(self._step, SKIPPED))):
                frames += got
        except AudioError as error:
            if not frames:
                raise
            return frames, error
        finally:
            stream.close()
        return frames, None

    def read(self, start: int, end: int) -> Float:
        """Frames `start` to `end`, (n, channels). Raises AudioError `decode_error` if it ends."""
        if self._stream is None or start < self._at - len(self._kept):
            self.close()
            self._stream = self._begin()
        while self._at < start:
            self._advance(self._stream, min(SKIPPED, start - self._at), 0)
        held = self._at - start
        self._advance(self._stream, max(0, end - self._at), held)
        if self._at < end:
            raise AudioError("decode_error", f"its data end or break before frame {end}")
        first = len(self._kept) - (self._at - start)
        return checked(self._kept[first : first + end - start])

    def close(self) -> None:
        """End the stream, if there is one."""
        if self._stream is not None:
            self._stream.close()
        self._stream, self._at = None, 0
        self._kept = self._kept[:0]

    @property
    def _step(self) -> int:
        return max(1, BLOCK // self._channels)

    def _advance(self, stream: FrameStream, frames: int, keep: int) -> None:
        """Take `frames` more, and keep `keep` of those that came before them."""
        taken = stream.take(frames) if frames else self._kept[:0]
        if frames and not len(taken):
            raise AudioError("decode_error", f"its data end or break after frame {self._at}")
        old = self._kept[max(0, len(self._kept) - keep) :] if keep else self._kept[:0]
        self._kept = np.concatenate([old, taken]) if len(old) else taken
        self._at += len(taken)
