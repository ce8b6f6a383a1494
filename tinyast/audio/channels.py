"""From several channels to the one that is classified."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from tinyast.arrays import Float
from tinyast.audio.samples import BLOCK
from tinyast.errors import AudioError

# The mean of all channels, the loudest one of each window, or one by its number, from 1.
Channel = Literal["mix", "loudest"] | int
LOUDER = (
    2.0  # times the power, 3 dB: a smaller lead is ignored, so that equal channels do not alternate
)
SMOOTHED_S = 1.0  # time constant of a live channel's power


def select(frames: Float, channel: Channel = "mix") -> Float:
    """(n, channels) to one channel, (n,). Raises AudioError `bad_channels` if it is not there."""
    if channel == "loudest":
        return frames[:, loudest(powers(frames))]
    if channel == "mix":
        return downmix(frames)
    check_channel(channel, frames.shape[1])
    return frames[:, channel - 1]


def downmix(frames: Float) -> Float:
    """(n, channels) to the mean of the channels, (n,)."""
    if frames.shape[1] == 1:
        return frames[:, 0]
    mean: Float = frames.mean(axis=1, dtype=np.float32)
    return mean


def powers(frames: Float) -> Float:
    """The variance of each channel of (n, channels), (channels,): an offset is no sound."""
    variances: Float = frames.var(axis=0, dtype=np.float64).astype(np.float32)
    return variances


def loudest(powers: Float) -> int:
    """The index of the loudest channel; the first of several that are equally loud."""
    return int(np.argmax(powers))


class LiveChannel:
    """Selects one channel of a live stream, block by block.

    The loudest one is that of the last second or so, and changes only to one that is `LOUDER`.
    """

    def __init__(self, channel: Channel, channels: int, rate: int) -> None:
        """For a stream of `channels` at `rate` Hz. Raises AudioError `bad_channels`."""
        check_channel(channel, channels)
        self._channel, self._rate = channel, rate
        self._powers = np.zeros(channels, np.float32)
        self._at = 0

    def __call__(self, frames: Float) -> Float:
        """(n, channels) to one channel, (n,)."""
        if self._channel != "loudest" or not len(frames):
            return select(frames, self._channel if self._channel != "loudest" else "mix")
        share = min(1.0, len(frames) / self._rate / SMOOTHED_S)
        self._powers += share * (powers(frames) - self._powers)
        best = loudest(self._powers)
        if self._powers[best] > LOUDER * self._powers[self._at]:
            self._at = best
        return frames[:, self._at]


def check_channel(channel: Channel, channels: int) -> None:
    """Raise AudioError `bad_channels` for the number of a channel that a recording lacks."""
    if isinstance(channel, int) and not 1 <= channel <= channels:
        raise AudioError(
            "bad_channels",
            f"it has {channels} channels, so there is no channel {channel} (setting: channel)",
        )


def read_one_channel(
    decode: Callable[[int, int], Float], start: int, end: int, width: int, channel: Channel
) -> Float:
    """Frames `start` to `end` of a recording with `width` channels as one channel, (end - start,).

    `decode` gives checked frames, (n, width), and is asked for few of them at once.
    """
    step = max(1, BLOCK // width)
    if end - start <= step:
        return select(decode(start, end), channel)
    spans = [(first, min(first + step, end)) for first in range(start, end, step)]
    if channel == "loudest":  # of the whole span, not of each block
        total = sum(powers(decode(first, last)) * (last - first) for first, last in spans)
        channel = loudest(np.asarray(total, np.float32)) + 1
    mono = np.empty(end - start, dtype=np.float32)
    for first, last in spans:
        mono[first - start : last - start] = select(decode(first, last), channel)
    return mono
