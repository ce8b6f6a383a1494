"""Tones, sweeps, signals of telephones and small machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from tinyast.data.extra.clips import RATE, Clip, at_level, randomness, split_of

Wave = NDArray[np.float64]  # (n,) at 16 kHz
KEYPAD = {
    key: (low, high)
    for low, keys in ((697, "123A"), (770, "456B"), (852, "789C"), (941, "*0#D"))
    for key, high in zip(keys, (1209, 1336, 1477, 1633), strict=True)
}
"""The two frequencies of each key in Hz (ITU-T Q.23)."""
LINE = ((350, 440), (440, 480), (480, 620), (425,), (400,), (425, 450))
"""Dial, ringing and busy tones in use, Hz (ITU-T E.180)."""
_EDGE = 0.005


def tones(count: int) -> Iterator[Clip]:
    """`count` clips, the makers in turn."""
    for number in range(count):
        maker = MAKERS[number % len(MAKERS)]
        name = maker.__name__.strip("_")
        random = randomness("tone", name, number)
        samples = maker(random)
        samples = samples + random.choice([0.0, 0.001, 0.01]) * random.normal(size=len(samples))
        yield Clip(
            at_level(samples, random),
            "tone",
            f"numpy: {name}",
            "CC0-1.0",
            split_of(f"tone {name} {number}"),
        )


def _time(seconds: float) -> Wave:
    return np.arange(int(seconds * RATE)) / RATE


def _wave(phase: Wave, random: np.random.Generator) -> Wave:
    """Sine, square, saw or triangle of a phase in turns; the edged ones roughly."""
    sine = np.sin(2 * np.pi * phase)
    turn = phase % 1.0
    shapes = (sine, sine, np.tanh(8 * sine), 2 * turn - 1, 1 - 4 * np.abs(turn - 0.5))
    shape: Wave = shapes[random.integers(len(shapes))]
    return shape


def _faded(samples: Wave) -> Wave:
    edge = min(int(_EDGE * RATE), len(samples) // 2)
    gain = np.ones(len(samples))
    gain[:edge] = np.linspace(0, 1, edge)
    gain[len(gain) - edge :] = np.linspace(1, 0, edge)
    return samples * gain


def _chord(pitches: tuple[float, ...], seconds: float) -> Wave:
    time = _time(seconds)
    return _faded(np.sum([np.sin(2 * np.pi * hertz * time) for hertz in pitches], axis=0))


def _tone(random: np.random.Generator) -> Wave:
    time = _time(random.uniform(1, 6))
    hertz = 10 ** random.uniform(1.7, 3.8)
    wobble = random.choice([0.0, 0.0, 0.01]) * np.sin(2 * np.pi * random.uniform(3, 8) * time)
    return _faded(_wave(np.cumsum(hertz * (1 + wobble)) / RATE, random))


def _sweep(random: np.random.Generator) -> Wave:
    time = _time(random.uniform(1, 8))
    first, last = 10 ** random.uniform(1.7, 3.85, size=2)
    share = time / time[-1]
    exponential = random.random() < 0.5
    hertz = first * (last / first) ** share if exponential else first + (last - first) * share
    return _faded(_wave(np.cumsum(hertz) / RATE, random))


def _chirps(random: np.random.Generator) -> Wave:
    """One short sweep several times, slower than a bird or a cricket would."""
    one = _sweep(random)[: int(RATE * random.uniform(0.15, 0.6))]
    gap = np.zeros(int(RATE * random.uniform(0.2, 0.8)))
    return np.concatenate([part for _ in range(random.integers(2, 6)) for part in (one, gap)])


def _dialling(random: np.random.Generator) -> Wave:
    keys = random.choice(list(KEYPAD), size=random.integers(4, 13))
    on, off = random.uniform(0.06, 0.25), random.uniform(0.04, 0.2)
    gap = np.zeros(int(RATE * off))
    return np.concatenate([part for key in keys for part in (_chord(KEYPAD[key], on), gap)])


def _line(random: np.random.Generator) -> Wave:
    pitches = LINE[random.integers(len(LINE))]
    if random.random() < 0.3:
        return _chord(pitches, random.uniform(1, 5))
    on, off = random.choice([0.25, 0.5, 1.0, 2.0]), random.choice([0.25, 0.5, 1.0])
    one = np.concatenate([_chord(pitches, on), np.zeros(int(RATE * off))])
    return np.tile(one, random.integers(1, 4))


def _jingle(random: np.random.Generator) -> Wave:
    """A few notes as devices play them: struck and dying away, or held."""
    root, notes = random.uniform(200, 1200), random.integers(2, 6)
    steps = random.choice([0, 3, 4, 5, 7, 9, 12], size=notes)
    length = random.uniform(0.08, 0.35)
    fall = random.choice([0.0, 3.0, 9.0])
    parts = [_chord((root * 2 ** (step / 12),), length) for step in steps]
    parts.append(np.zeros(int(RATE * random.uniform(0.1, 1.0))))
    return np.concatenate([part * np.exp(-fall * _time(1.0)[: len(part)]) for part in parts])


def _morse(random: np.random.Generator) -> Wave:
    hertz, dot = random.uniform(400, 1200), random.uniform(0.05, 0.12)
    marks = random.choice([1, 3], size=random.integers(8, 24))
    gaps = random.choice([1, 1, 3], size=len(marks))
    return np.concatenate(
        [
            part
            for mark, gap in zip(marks, gaps, strict=True)
            for part in (_chord((hertz,), dot * mark), np.zeros(int(RATE * dot * gap)))
        ]
    )


def _modem(random: np.random.Generator) -> Wave:
    """Bits as two tones."""
    bits = random.integers(0, 2, size=int(random.uniform(1, 5) * 300))
    low, high = random.choice([(1070, 1270), (1200, 2200), (2025, 2225)])
    hertz = np.repeat(np.where(bits, high, low), RATE // 300)
    return _faded(np.sin(2 * np.pi * np.cumsum(hertz) / RATE))


MAKERS: tuple[Callable[[np.random.Generator], Wave], ...] = (
    _tone,
    _sweep,
    _chirps,
    _dialling,
    _line,
    _jingle,
    _morse,
    _modem,
)
