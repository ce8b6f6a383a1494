"""Noise of a colour, of a band, and mains hum."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinyast.arrays import Float
from tinyast.data.extra.clips import RATE, Clip, at_level, randomness, split_of

COLOURS = {"white": 0.0, "pink": -0.5, "brown": -1.0, "blue": 0.5, "violet": 1.0}
"""The amplitude goes with frequency to this power."""


def noises(count: int) -> Iterator[Clip]:
    """`count` clips: colours, bands and hum in turn, so any count has all of them."""
    makers = [*COLOURS, "band", "tilt", "hum", "buzz"]
    for number in range(count):
        name = makers[number % len(makers)]
        random = randomness("noise", name, number)
        length = int(RATE * random.uniform(1.0, 10.0))
        if name in ("hum", "buzz"):
            samples = _hum(length, random, harmonics=40 if name == "buzz" else 6)
        else:
            samples = _shaped(_coloured(length, name, random), random)
        yield Clip(
            at_level(samples, random),
            "noise",
            f"numpy: {name} noise",
            "CC0-1.0",
            split_of(f"noise {name} {number}"),
        )


def _coloured(length: int, name: str, random: np.random.Generator) -> Float:
    spectrum = random.normal(size=length // 2 + 1) + 1j * random.normal(size=length // 2 + 1)
    hertz = np.maximum(np.fft.rfftfreq(length, 1 / RATE), 20.0)
    if name == "band":
        centre, octaves = 10 ** random.uniform(2.0, 3.8), random.uniform(0.2, 2.0)
        spectrum *= np.exp(-0.5 * (np.log2(hertz / centre) / octaves) ** 2)
    elif name == "tilt":
        spectrum *= hertz ** random.uniform(-1.5, 0.5)
        spectrum *= hertz < 10 ** random.uniform(2.7, 3.9)
    else:
        spectrum *= hertz ** COLOURS[name]
    samples: Float = np.fft.irfft(spectrum, length).astype(np.float32)
    return samples


def _shaped(samples: Float, random: np.random.Generator) -> Float:
    """Mostly steady, else switched on and off: what swells slowly sounds like the sea."""
    if random.random() < 0.75:
        return samples
    time = np.arange(len(samples)) / RATE
    wave = np.sin(2 * np.pi * random.uniform(0.1, 0.6) * time + random.uniform(0, 6.28))
    gated: Float = (samples * np.clip(400 * wave, 0.01, 1.0)).astype(np.float32)
    return gated


def _hum(length: int, random: np.random.Generator, harmonics: int) -> Float:
    """50 or 60 Hz and harmonics of it, in a little noise."""
    time = np.arange(length) / RATE
    mains = (50.0 if random.random() < 0.5 else 60.0) * random.uniform(0.998, 1.002)
    total = 0.01 * random.uniform(0.1, 3.0) * random.normal(size=length)
    decay = random.uniform(0.4, 1.4)
    for order in range(1, harmonics + 1):
        strength = random.uniform(0.2, 1.0) * order**-decay
        total += strength * np.sin(2 * np.pi * mains * order * time + random.uniform(0, 6.28))
    hum: Float = total.astype(np.float32)
    return hum
