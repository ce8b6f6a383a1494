"""Make the three sounds of this folder: `python examples/sounds/make.py`.

They are synthetic, so that they may be copied freely, and short. The model that ships accepts
each of them: a siren, birds that chirp, and knocks on a wooden door.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16_000  # Hz

Wave = NDArray[np.float64]  # (n,)
Chance = np.random.Generator


def siren(chance: Chance, length: int) -> Wave:
    """A pitch that rises and falls about 800 Hz, with two overtones and some noise."""
    time = np.arange(length) / RATE
    pitch = 800 + 350 * np.sin(2 * np.pi * chance.uniform(0.35, 0.6) * time - 1.2)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    return np.sin(phase) + np.sin(2 * phase) / 2 + np.sin(3 * phase) / 3 + 0.15 * _hum(chance, time)


def birds(chance: Chance, length: int) -> Wave:
    """Groups of short whistles between 2 and 7 kHz, each with a glide and a trill."""
    out = 0.01 * _hum(chance, np.arange(length) / RATE)
    at, end = 0.1, length / RATE
    while at < end - 0.3:
        start = chance.uniform(3200, 5200)
        for _ in range(chance.integers(2, 6)):
            lasts = chance.uniform(0.04, 0.1)
            time = np.arange(int(lasts * RATE)) / RATE
            pitch = start + chance.uniform(-1500, 1500) * time / lasts
            pitch += 200 * np.sin(2 * np.pi * 40 * time)
            if at < end - 0.1:
                phase = 2 * np.pi * np.cumsum(pitch) / RATE
                _add(out, at, np.sin(phase) * np.hanning(len(time)))
            at += lasts + 0.02
        at += chance.uniform(0.1, 0.3)
    return out


def knock(chance: Chance, length: int) -> Wave:
    """Three knocks and two: the tones of a wooden panel, a click, and what the room answers."""
    out = 0.003 * _hum(chance, np.arange(length) / RATE)
    time = np.arange(RATE // 4) / RATE
    panel = (
        (120, 1, 0.03),
        (210, 1, 0.025),
        (390, 0.6, 0.015),
        (640, 0.4, 0.01),
        (1100, 0.25, 0.006),
    )
    for at in (0.2, 0.45, 0.7, 1.4, 1.65):
        tones = np.zeros(len(time))
        for pitch, loud, fades in panel:
            phase = 2 * np.pi * pitch * time + chance.uniform(0, 6)
            tones += loud * np.sin(phase) * np.exp(-time / fades)
        click = 0.8 * chance.normal(size=len(time)) * np.exp(-time / 0.004)
        _add(out, at, (tones + click) * chance.uniform(0.8, 1.1))
        _add(out, at, 0.04 * chance.normal(size=len(time)) * np.exp(-time / 0.05))
    return out


SOUNDS: dict[str, tuple[Callable[[Chance, int], Wave], int, float, float]] = {
    # its function, seed, seconds and level (root mean square, full scale at 1)
    "siren": (siren, 3, 1.5, 0.1),
    "birds": (birds, 5, 1.5, 0.1),
    "knock": (knock, 0, 2.5, 0.08),
}


def make(name: str) -> Wave:
    """The samples of one sound at 16 kHz, (n,), full scale at 1."""
    function, seed, seconds, level = SOUNDS[name]
    wave = function(np.random.default_rng(seed), round(seconds * RATE))
    return np.asarray(np.clip(level * wave / np.sqrt(np.mean(wave**2)), -0.95, 0.95))


def _hum(chance: Chance, time: Wave) -> Wave:
    """Noise, of level 1, that falls by 3 dB an octave."""
    spectrum = np.fft.rfft(chance.normal(size=len(time)))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** -0.5
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, len(time))
    return np.asarray(noise / np.sqrt(np.mean(noise**2)))


def _add(out: Wave, at: float, wave: Wave) -> None:
    """Add `wave` to `out` from `at` s on, as far as it fits."""
    first = int(at * RATE)
    part = wave[: len(out) - first]
    out[first : first + len(part)] += part


if __name__ == "__main__":
    for name in SOUNDS:
        soundfile.write(Path(__file__).with_name(f"{name}.wav"), make(name), RATE, subtype="PCM_16")
