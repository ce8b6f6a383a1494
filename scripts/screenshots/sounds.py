"""Sounds that resemble real ones, made of noise and sines: (80,000,), 5 s at 16 kHz."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
LENGTH = 5 * RATE
TIME = np.arange(LENGTH) / RATE  # s

Chance = np.random.Generator
Wave = NDArray[np.float64]  # (n,)


def _shaped(chance: Chance, slope: float) -> Wave:
    """Noise whose level falls with frequency: by 1 / f ** slope."""
    spectrum = np.fft.rfft(chance.normal(size=LENGTH))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** -slope
    spectrum[0] = 0
    return _loud(np.fft.irfft(spectrum, LENGTH))


def _loud(samples: Wave, level: float = 0.1) -> Wave:
    loudness = float(np.sqrt(np.mean(samples**2))) or 1.0
    return np.asarray(np.clip(level * samples / loudness, -1, 1))


def _struck(chance: Chance, times: Wave, one: Callable[[Wave], Wave], base: float) -> Wave:
    """One sound at each of `times`, over quiet noise. `one` takes s since its start."""
    out = base * _shaped(chance, 0.5)
    for at in times:
        since = TIME - at
        out += np.where(since >= 0, one(np.maximum(since, 0)), 0)
    return _loud(out)


def rain(chance: Chance) -> Wave:
    return _shaped(chance, 0.1)


def wind(chance: Chance) -> Wave:
    swell = 1 + 0.8 * np.sin(2 * np.pi * 0.3 * TIME + chance.uniform(0, 6))
    return _loud(_shaped(chance, 1.2) * swell)


def sea_waves(chance: Chance) -> Wave:
    swell = (1 + np.sin(2 * np.pi * 0.22 * TIME + chance.uniform(0, 6))) ** 2
    return _loud(_shaped(chance, 0.5) * swell)


def siren(chance: Chance) -> Wave:
    pitch = 800 + 350 * np.sin(2 * np.pi * chance.uniform(0.25, 0.5) * TIME)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    wave = np.asarray(sum(np.sin(n * phase) / n for n in (1, 2, 3)))
    return _loud(wave + 0.2 * _shaped(chance, 0.5))


def crickets(chance: Chance) -> Wave:
    chirp = (np.sin(2 * np.pi * 30 * TIME) > 0) * (np.sin(2 * np.pi * 2.5 * TIME) > -0.2)
    tone = np.sin(2 * np.pi * chance.uniform(4300, 5000) * TIME) * chirp
    return _loud(tone + 0.05 * _shaped(chance, 0.3))


def church_bells(chance: Chance) -> Wave:
    base = chance.uniform(250, 400)
    partials = ((0.5, 1.0), (1.0, 1.0), (1.2, 0.7), (1.5, 0.5), (2.0, 0.8), (2.7, 0.3), (4.1, 0.2))

    def strike(since: Wave) -> Wave:
        tones = (a * np.sin(2 * np.pi * base * r * since) for r, a in partials)
        return np.asarray(sum(tones) * np.exp(-since / 1.2))

    return _struck(chance, np.arange(0.2, 5, 1.3), strike, 0.05)


def clock_tick(chance: Chance) -> Wave:
    def tick(since: Wave) -> Wave:
        return np.asarray(np.sin(2 * np.pi * 3200 * since) * np.exp(-since / 0.006))

    return _struck(chance, np.arange(0.1, 5, 0.5), tick, 0.01)


def footsteps(chance: Chance) -> Wave:
    grain = chance.normal(size=LENGTH)

    def step(since: Wave) -> Wave:
        thud = 3 * np.sin(500 * since) * np.exp(-since / 0.04)
        return np.asarray(grain * np.exp(-since / 0.05) + thud)

    return _struck(chance, np.arange(0.2, 5, 0.6) + chance.normal(0, 0.02, 8), step, 0.02)


def clapping(chance: Chance) -> Wave:
    grain = chance.normal(size=LENGTH)

    def clap(since: Wave) -> Wave:
        return np.asarray(grain * np.exp(-since / 0.015))

    return _struck(chance, np.sort(chance.uniform(0, 5, 60)), clap, 0.02)


def helicopter(chance: Chance) -> Wave:
    blade = np.maximum(0, np.sin(2 * np.pi * chance.uniform(11, 14) * TIME)) ** 4
    return _loud(_shaped(chance, 0.8) * (0.2 + blade))


def engine(chance: Chance) -> Wave:
    phase = 2 * np.pi * chance.uniform(35, 55) * TIME
    wave = np.asarray(sum(np.sin(n * phase + n * n) / n for n in range(1, 20)))
    return _loud(wave + 0.8 * _shaped(chance, 0.8))


def door_knock(chance: Chance) -> Wave:
    def knock(since: Wave) -> Wave:
        return np.asarray(np.sin(2 * np.pi * 180 * since) * np.exp(-since / 0.03))

    return _struck(chance, np.array([0.5, 0.75, 1.0, 1.25, 3.0, 3.25, 3.5]), knock, 0.005)


ALL = (rain, wind, sea_waves, siren, crickets, church_bells, clock_tick, footsteps, clapping,
       helicopter, engine, door_knock)  # fmt: skip
