"""How a clip is changed before its spectrum is taken: speed, place, length, room, recorder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr

from tinyast.arrays import Float
from tinyast.features.log_mel import FeatureSettings


@dataclass(frozen=True)
class VariantSettings:
    """How the variants of a clip are made."""

    variants: int  # pictures of each clip; the first is the clip as it is
    max_speed: float  # fastest playback; the slowest is its inverse
    reverb: float  # share of the variants with a simulated room
    clipping: float  # share of the variants that are clipped
    short: float = 0.0  # share of the variants that are 0.2 to 2.5 s of the clip, in silence
    quiet: float = 0.0  # share of the variants with a hiss, a hum or an offset far below them
    seed: int = 0


def varied(
    samples: Float, settings: FeatureSettings, how: VariantSettings, random: np.random.Generator
) -> Float:
    """One variant of a clip: (n_samples,)."""
    heard = _change_speed(samples, how.max_speed, random)
    if random.random() < how.short:
        heard = shortened(heard, settings, random)
    else:
        heard = _place(heard, settings.n_samples, random)
    if random.random() < how.reverb:
        heard = _reverberate(heard, settings.sampling_rate, random)
    if random.random() < how.clipping:
        heard = _clip(heard, random)
    if random.random() < how.quiet:
        heard = _over_quiet(heard, settings.sampling_rate, random)
    return heard


def _change_speed(samples: Float, most: float, random: np.random.Generator) -> Float:
    speed = most ** random.uniform(-1, 1)
    out: Float = soxr.resample(samples, 16_000 * speed, 16_000, quality="LQ").astype(np.float32)
    return out


def _place(samples: Float, length: int, random: np.random.Generator) -> Float:
    """Cut to `length` at a random place, or put at a random place in silence or in a loop."""
    if len(samples) >= length:
        start = random.integers(len(samples) - length + 1)
        return samples[start : start + length]
    start = random.integers(length - len(samples) + 1)
    mode = "wrap" if random.random() < 0.5 else "constant"
    return np.pad(samples, (start, length - len(samples) - start), mode=mode)  # type: ignore[call-overload, no-any-return]


def shortened(samples: Float, settings: FeatureSettings, random: np.random.Generator) -> Float:
    """0.2 to 2.5 s of what sounds in a window of zeros, at times cut off by its edges."""
    length = int(np.exp(random.uniform(np.log(0.2), np.log(2.5))) * settings.sampling_rate)
    heard = _around_something_loud(samples, length, random)
    edge = 1 + int(random.uniform(0, 0.02) * settings.sampling_rate)
    ramp = np.linspace(0, 1, min(edge, len(heard) // 2), dtype=np.float32)
    heard = heard.copy()
    heard[: len(ramp)] *= ramp
    heard[len(heard) - len(ramp) :] *= ramp[::-1]
    whole = np.zeros(settings.n_samples, np.float32)
    over = int(0.3 * len(heard)) if random.random() < 0.3 else 0
    # A file that is short is followed by zeros; a microphone hears a short sound anywhere.
    start = (
        0 if random.random() < 0.3 else random.integers(-over, len(whole) - len(heard) + over + 1)
    )
    first, end = max(0, start), min(len(whole), start + len(heard))
    whole[first:end] = heard[first - start : end - start]
    return whole


def _around_something_loud(samples: Float, length: int, random: np.random.Generator) -> Float:
    """`length` samples about a place drawn by its energy, all of them if there are no more."""
    sounding = np.flatnonzero(np.abs(samples) > 1e-4)
    if len(sounding):
        samples = samples[sounding[0] : sounding[-1] + 1]
    if len(samples) <= length:
        return samples
    step = 160
    energy = np.add.reduceat(samples.astype(np.float64) ** 2, np.arange(0, len(samples), step))
    total = energy.sum()
    chances = energy / total if total > 0 else None
    middle = random.choice(len(energy), p=chances) * step
    start = int(middle - length * random.uniform(0.1, 0.9))
    start = min(max(0, start), len(samples) - length)
    return samples[start : start + length]


def _over_quiet(samples: Float, rate: int, random: np.random.Generator) -> Float:
    """Over coloured noise 25 to 70 dB below the peak, or a hum, or an offset."""
    peak = float(np.abs(samples).max())
    which = random.random()
    if which < 0.7:
        spectrum = np.fft.rfft(random.standard_normal(len(samples)))
        spectrum *= (np.arange(len(spectrum)) + 20.0) ** -random.uniform(-0.2, 1)
        hiss = np.fft.irfft(spectrum, len(samples))
        behind = hiss / hiss.std() * 10 ** (-random.uniform(25, 70) / 20)
    elif which < 0.85:
        hum = np.sin(2 * np.pi * random.choice([50, 60, 100]) * np.arange(len(samples)) / rate)
        behind = hum * 10 ** (-random.uniform(20, 45) / 20)
    else:
        behind = np.full(len(samples), random.uniform(-0.05, 0.05))
    return np.asarray(samples + peak * behind, np.float32)


def _reverberate(samples: Float, rate: int, random: np.random.Generator) -> Float:
    """A room as exponentially fading noise after the direct sound (Polack 1988)."""
    seconds = random.uniform(0.15, 0.9)  # until the sound has faded by 60 dB
    n = int(seconds * rate)
    response = random.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    response *= 10 ** (random.uniform(-15, 0) / 20) / np.sqrt(np.sum(response**2))
    response[0] += 1
    size = 1 << int(len(samples) + n - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)
    return wet[: len(samples)].astype(np.float32)


def _clip(samples: Float, random: np.random.Generator) -> Float:
    """Too loud for the recorder: up to a fifth of the sounding samples is cut off."""
    magnitude = np.abs(samples)
    sounding = magnitude[magnitude > magnitude.max() * 1e-3]
    if not len(sounding):
        return samples
    limit = np.quantile(sounding, 1 - random.uniform(0.01, 0.2))
    return np.clip(samples, -limit, limit)
