"""Change the clips of a training batch, so that the model never sees a picture twice.

All of it works on mel power of single frames, where mixing, filtering and noise are sums and
products and a roll by part of a column blurs little; only SpecAugment's blanks come after
`tinyast.features.log_mel.normalise`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from tinyast.arrays import Float
from tinyast.features import audioset
from tinyast.features.log_mel import FeatureSettings, normalise, pooled
from tinyast.training.recipe import Recipe

Random = np.random.Generator
TINY = np.float32(1e-20)  # under any power that the 80 dB floor lets through


class Batch(NamedTuple):
    """The input of one training step."""

    pictures: Float  # (B, n_mels, n_frames)
    clear: Float  # mel power of the same clips before anything was put over them, by frames
    covered: Float  # the same with other clips behind them, but without rooms or noise
    targets: Float  # (B, classes), probabilities; what they lack of 1 is of no kind


def augment(
    power: Float, targets: Float, recipe: Recipe, settings: FeatureSettings, random: Random
) -> Batch:
    """Change clips, and show them as `settings` say.

    `power` is mel power of single frames, (B, n_mels, n_frames * pool), and `targets` are
    probabilities (B, classes).
    """
    power = at_unit_power(power)
    power = warp(power, recipe.stretch, recipe.mel_shift, recipe.shift, random)
    others = power
    power = equalise(power, recipe.equaliser_db, random)
    power, targets = mix(power, targets, recipe.mix, random)
    clear = power
    power = covered = add_background(power, others, recipe.background, random)
    power = reverberate(power, recipe.room, settings.hop_length / settings.sampling_rate, random)
    power = add_noise(power, recipe.noise, random)
    power = narrow(power, recipe.narrow, random)
    pictures = show(power, settings)
    nothing = audioset.FLOOR if settings.scale == "audioset" else 0.0
    pictures = blank(pictures, recipe.masks, recipe.mask_mel, recipe.mask_time, random, nothing)
    return Batch(pictures, clear, covered, targets)


def show(power: Float, settings: FeatureSettings) -> Float:
    """Pictures (B, n_mels, n_frames) of mel power of single frames."""
    if settings.scale == "audioset" and settings.n_mels != power.shape[-2]:
        power = audioset.broader(settings.n_mels).astype(np.float32) @ power
    return normalise(pooled(power, settings.pool), settings)


def at_unit_power(power: Float) -> Float:
    """Each picture (B, n_mels, n_frames) at a mean power of 1, whatever its recording level."""
    level = np.maximum(power.mean(axis=(1, 2), keepdims=True), TINY)
    return np.asarray(power / level, dtype=np.float32)


def warp(power: Float, stretch: float, mel_shift: float, shift: float, random: Random) -> Float:
    """Move each picture in time, play it faster or slower, and move it up or down the bands.

    Most are rolled, which keeps all of the sound. A share `shift` begins up to half a clip earlier
    or later instead: the part outside the clip is lost, and silence fills the rest.
    """
    batch, mels, frames = power.shape
    rate = (1 + stretch) ** random.uniform(-1, 1, (batch, 1))
    start = random.uniform(0, frames, (batch, 1))
    onset = random.uniform(-frames / 2, frames / 2, (batch, 1))
    cells = rate * np.arange(frames)
    rolled = _interpolation((start + cells) % frames, frames, wrap=True)
    moved = _interpolation(onset + cells, frames, wrap=False)
    columns = np.where(random.random((batch, 1, 1)) < shift, moved, rolled)
    by = random.uniform(-mel_shift, mel_shift, (batch, 1))
    rows = _interpolation(np.clip(np.arange(mels) + by, 0, mels - 1), mels, wrap=False)
    return np.asarray(rows @ power @ columns.transpose(0, 2, 1), dtype=np.float32)


def _interpolation(positions: NDArray[np.float64], size: int, wrap: bool) -> Float:
    """Matrices (B, n, size) that read `size` cells at fractional `positions` (B, n).

    Without `wrap`, a position outside reads 0.
    """
    below = np.floor(positions).astype(np.int64)
    above = (positions - below).astype(np.float32)
    matrices: Float = np.zeros((*positions.shape, size), np.float32)
    for cells, parts in ((below, 1 - above), (below + 1, above)):
        inside = parts * ((cells >= 0) & (cells < size)) if not wrap else parts
        at = (cells % size)[..., None]
        held = np.take_along_axis(matrices, at, -1)
        np.put_along_axis(matrices, at, held + inside[..., None], -1)
    return matrices


def equalise(power: Float, deviation_db: float, random: Random) -> Float:
    """Give each picture a smooth random frequency response, as another microphone would."""
    batch, mels, _ = power.shape
    knots = random.normal(0, deviation_db, (batch, 6))
    where = np.linspace(0, 5, mels)[None].repeat(batch, axis=0)
    gain_db = np.einsum("bms,bs->bm", _interpolation(where, 6, wrap=False), knots)
    gains: Float = (10 ** (gain_db / 10)).astype(np.float32)
    return power * gains[..., None]


def mix(power: Float, targets: Float, part: float, random: Random) -> tuple[Float, Float]:
    """Mix a part of the clips with another clip of the batch, in any proportion.

    Tokozume, Ushiku, Harada 2018, "Learning from Between-class Examples for Deep Sound
    Recognition": amplitudes r and 1-r give labels r and 1-r. Clips come with the same mean power.
    """
    batch = len(power)
    other = random.permutation(batch)
    ratio = np.where(random.random(batch) < part, random.random(batch), 1).astype(np.float32)
    r = ratio[:, None, None]
    mixed = r**2 * power + (1 - r) ** 2 * power[other]
    return mixed, ratio[:, None] * targets + (1 - ratio[:, None]) * targets[other]


def add_background(power: Float, others: Float, part: float, random: Random) -> Float:
    """Put one to six of `others` behind a part of the clips, 3 to 30 dB below them, unlabelled.

    Both are (B, n_mels, n_frames). Decibels are of mean power, the clip's being that of its
    frames within 40 dB of the loudest.
    """
    batch = len(power)
    count = random.integers(1, 7, (batch, 1, 1))
    behind = np.zeros_like(power)
    for number in range(6):
        behind += at_unit_power(others[random.permutation(batch)]) * (number < count)
    frames = power.mean(axis=1)
    loud = frames >= frames.max(axis=1, keepdims=True) * 1e-4
    level = (frames * loud).sum(axis=1) / np.maximum(loud.sum(axis=1), 1)
    gain = level * 10 ** (-random.uniform(3, 30, batch) / 10) * (random.random(batch) < part)
    return np.asarray(power + behind * (gain[:, None, None] / count), dtype=np.float32)


def reverberate(power: Float, part: float, frame_s: float, random: Random) -> Float:
    """Let a part of the clips fade as in a room, by 60 dB in 0.15 to 1.2 s.

    The tail has 12 dB less to 3 dB more energy than the direct sound. Frames are `frame_s` seconds
    apart; the powers of a sound and of its diffuse echoes add up (Polack 1988).
    """
    chosen = np.flatnonzero(random.random(len(power)) < part)
    reverberant = power.copy()
    for number in chosen:
        kept = 10 ** (-6 * frame_s / random.uniform(0.15, 1.2))  # of the tail, a frame later
        energy = 10 ** (random.uniform(-12, 3) / 10)
        tail = lfilter([0, energy * (1 - kept)], [1, -kept], power[number], axis=-1)
        reverberant[number] += tail.astype(np.float32)
    return reverberant


def add_noise(power: Float, part: float, random: Random) -> Float:
    """Give a part of the clips steady noise, from 0 to 40 dB below them, red to blue.

    White noise rises by about 20 dB from the lowest band to the highest, since bands widen.
    """
    chosen = np.flatnonzero(random.random(len(power)) < part)
    clips = power[chosen]
    count, mels, _ = clips.shape
    level_db = -random.uniform(0, 40, (count, 1, 1))
    tilt_db = random.uniform(-20, 30, (count, 1, 1)) * np.linspace(-0.5, 0.5, mels)[None, :, None]
    # The power of noise in one cell scatters as the mean of the few bins and frames under it.
    scatter = random.standard_gamma(4, clips.shape, dtype=np.float32) / 4
    noise = 10 ** ((level_db + tilt_db) / 10) * scatter * clips.mean((1, 2), keepdims=True)
    noised = power.copy()
    noised[chosen] += noise
    return noised


def narrow(power: Float, part: float, random: Random) -> Float:
    """Give a part of the clips less bandwidth, as a telephone or an old recorder would."""
    batch, mels, _ = power.shape
    chosen = random.random((batch, 1)) < part
    highest = random.uniform(0.47, 1.25, (batch, 1)) * mels  # over the last band: all is kept
    lowest = random.uniform(-0.22, 0.22, (batch, 1)) * mels
    band = np.arange(mels)
    outside = np.maximum(band - highest, 0) + np.maximum(lowest - band, 0)
    slope_db = random.uniform(10, 40, (batch, 1))  # a band
    floor_db = random.uniform(30, 80, (batch, 1))
    loss_db = np.minimum(outside * slope_db, floor_db) * chosen
    gains: Float = (10 ** (-loss_db / 10)).astype(np.float32)
    return power * gains[..., None]


def blank(
    pictures: Float,
    masks: int,
    mask_mel: int,
    mask_time: int,
    random: Random,
    nothing: float = 0.0,
) -> Float:
    """SpecAugment (Park et al. 2019): set stripes of bands and frames to `nothing`."""
    batch, mels, frames = pictures.shape
    keep = np.ones((batch, mels, frames), bool)
    for _ in range(masks):
        keep &= ~_stripes(batch, mels, mask_mel, random)[:, :, None]
        keep &= ~_stripes(batch, frames, mask_time, random)[:, None, :]
    return np.where(keep, pictures, np.float32(nothing))


def _stripes(batch: int, size: int, widest: int, random: Random) -> NDArray[np.bool_]:
    width = random.integers(0, widest + 1, (batch, 1))
    start = random.integers(0, size - width + 1)
    cells = np.arange(size)
    return (cells >= start) & (cells < start + width)
