"""From several channels to the one that is classified."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from tinyast.arrays import Float
from tinyast.audio.samples import BLOCK
from tinyast.errors import AudioError

# The mean of all channels ("mix"), the loudest one of each window, or one by its number, from 1.
# A mix in which the channels cancel each other gives way to the loudest channel.
Channel = Literal["mix", "loudest"] | int
LOUDER = (
    2.0  # times the power, 3 dB: a smaller lead is ignored, so that equal channels do not alternate
)
SMOOTHED_S = 1.0  # time constant of a live channel's power
# Channels cancel each other if their mix has less than this share of the power that a mix of
# unrelated channels has. For two channels, that is 12 dB under their mean power.
CANCELLED = 1 / 8


def select(frames: Float, channel: Channel = "mix") -> Float:
    """(n, channels) to one channel, (n,). Raises AudioError `bad_channels` if it is not there."""
    if channel == "loudest":
        return frames[:, loudest(powers(frames))]
    if channel == "mix":
        mixed = downmix(frames)
        if _surely_add_up(frames, mixed):
            return mixed
        each = powers(frames)
        return frames[:, loudest(each)] if cancel(each, power(mixed)) else mixed
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


def power(mono: Float) -> float:
    """The variance of one channel, (n,)."""
    return float(mono.var(dtype=np.float64))


def loudest(powers: Float) -> int:
    """The index of the loudest channel; the first of several that are equally loud."""
    return int(np.argmax(powers))


def cancel(powers: Float, mixed: float, limit: float = CANCELLED) -> bool:
    """Whether channels with these `powers` cancel each other in a mix with the power `mixed`.

    Unrelated channels, and a single live one, leave 1/channels of their mean power in the mix.
    """
    return mixed < limit * float(powers.mean(dtype=np.float64)) / len(powers)


def _surely_add_up(frames: Float, mixed: Float) -> bool:
    """A quick test for the usual case: true only for channels that do not `cancel`."""
    count, channels = frames.shape
    if channels == 1 or count == 0:
        return True
    flat = frames.reshape(-1)
    most = float(flat @ flat) / channels  # times n: with offsets, so at least their mean power
    least = float(mixed @ mixed) - float(mixed.sum(dtype=np.float64)) ** 2 / count
    return bool(least > 2 * CANCELLED * most / channels)  # twice: for what float32 rounds


class LiveChannel:
    """Selects one channel of a live stream, block by block.

    The loudest one is that of the last second or so, and changes only to one that is `LOUDER`. So
    does a mix give way to it, and come back, by the power of that time.
    """

    def __init__(self, channel: Channel, channels: int, rate: int) -> None:
        """For a stream of `channels` at `rate` Hz. Raises AudioError `bad_channels`."""
        check_channel(channel, channels)
        self._channel, self._rate = channel, rate
        self._powers = np.zeros(channels, np.float32)
        self._mixed = 0.0  # power
        self._cancelled = False
        self._at = 0

    def __call__(self, frames: Float) -> Float:
        """(n, channels) to one channel, (n,)."""
        if isinstance(self._channel, int):
            return select(frames, self._channel)
        if frames.shape[1] == 1 or not len(frames):
            return frames[:, 0]
        self._follow(frames)
        is_mixed = self._channel == "mix" and not self._cancelled
        return downmix(frames) if is_mixed else frames[:, self._at]

    def _follow(self, frames: Float) -> None:
        """Take a block into account, unless it has samples that are not finite."""
        count = np.float32(len(frames))
        with np.errstate(over="ignore", invalid="ignore"):
            # Products of matrices: a third of the time of `powers` for short blocks.
            centred = frames - np.ones(len(frames), np.float32) @ frames / count
            covariances = centred.T @ centred / count  # (channels, channels)
        if not np.isfinite(covariances).all():
            return
        each, both = covariances.diagonal(), float(covariances.mean())
        share = min(1.0, len(frames) / self._rate / SMOOTHED_S)
        self._powers += share * (each - self._powers)
        self._mixed += share * (both - self._mixed)
        best = loudest(self._powers)
        if self._powers[best] > LOUDER * self._powers[self._at]:
            self._at = best
        limit = CANCELLED * (LOUDER if self._cancelled else 1)
        self._cancelled = cancel(self._powers, self._mixed, limit)


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
    mono = np.empty(end - start, dtype=np.float32)
    if channel == "mix":
        each, mixed = np.zeros(width), 0.0  # power times frames, of the whole span
        for first, last in spans:
            frames = decode(first, last)
            mono[first - start : last - start] = block = downmix(frames)
            each += powers(frames) * (last - first)
            mixed += power(block) * (last - first)
        if width == 1 or not cancel(each.astype(np.float32), mixed):
            return mono
        channel = loudest(each.astype(np.float32)) + 1
    if channel == "loudest":
        total = sum(powers(decode(first, last)) * (last - first) for first, last in spans)
        channel = loudest(np.asarray(total, np.float32)) + 1
    for first, last in spans:
        mono[first - start : last - start] = select(decode(first, last), channel)
    return mono
