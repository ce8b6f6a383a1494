"""Cut a recording into windows.

Windows of `window_s` begin every `hop_s`, counted at the recording's own rate; the last one is
anchored to the end, so windows cover every sample without padding. Only a recording shorter than
one window is zero-padded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from msgspec import Struct

TOO_LITTLE = 0.1  # of a hop: the surplus of segments that are meant to be one window long


class Window(Struct, frozen=True):
    """One cut, in frames of the recording's own rate."""

    index: int
    start: int  # first frame
    end: int  # one past the last existing frame
    rate: int  # Hz
    padded: int = 0  # frames of zeros that follow, in a recording shorter than a window

    @property
    def start_s(self) -> float:
        return self.start / self.rate

    @property
    def end_s(self) -> float:
        return self.end / self.rate

    @property
    def padded_s(self) -> float:
        return self.padded / self.rate


@dataclass(frozen=True)
class WindowPlan:
    """All windows of a recording of `frames` frames: `len(plan)`, `plan[i]`, `for w in plan`."""

    frames: int
    rate: int  # Hz
    window_s: float = 5.0
    hop_s: float = 5.0
    size: int = field(init=False, repr=False)  # frames in one window
    _count: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.frames < 0 or self.rate <= 0 or self.window_s <= 0:
            raise ValueError(f"not a plan of windows: {self}")
        if not 1 <= self.hop_s * self.rate < math.inf:  # NaN neither
            raise ValueError(
                f"hop_s is {self.hop_s} s; from one window to the next it is at least one frame, "
                f"{1 / self.rate:g} s"
            )
        # Computed once, because each window needs both many times.
        object.__setattr__(self, "size", round(self.window_s * self.rate))
        object.__setattr__(self, "_count", self._counted())

    def _start(self, index: int) -> int:
        return round(index * self.hop_s * self.rate)

    def _counted(self) -> int:
        if self.frames < self.size:
            return 1 if self.frames else 0
        # Windows that begin on the grid and end inside the recording.
        count = int((self.frames - self.size) / (self.hop_s * self.rate)) + 1
        while self._start(count) + self.size <= self.frames:
            count += 1
        while self._start(count - 1) + self.size > self.frames:
            count -= 1
        left = self.frames - self._start(count - 1) - self.size
        return count + (left >= max(1, TOO_LITTLE * self.hop_s * self.rate))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Window]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Window:
        if not 0 <= index < len(self):
            raise IndexError(index)
        if self.frames < self.size:
            return Window(0, 0, self.frames, self.rate, self.size - self.frames)
        start = min(self._start(index), self.frames - self.size)
        return Window(index, start, start + self.size, self.rate)
