"""Music: pieces made up here, or MIDI files, played by fluidsynth with a free sound font."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from tinyast.arrays import Float
from tinyast.data.extra.clips import RATE, Clip, at_level, randomness, read_16k, split_of
from tinyast.data.extra.programs import run

PROGRAMS = [number for number in range(120) if number != 14]
"""Instruments of General MIDI, without tubular bells and the effects (helicopter, applause…)."""
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 2, 3, 5, 7, 9, 10))
PLAYER = (
    *("-n", "-i", "-q", "-r", "32000", "-g", "0.6", "-R", "0", "-C", "0"),
    *("-o", "synth.dynamic-sample-loading=1"),  # else every instrument is loaded: seconds
)
_TICKS = 480
_DRUMS = 9


def pieces(count: int, fonts: Sequence[Path]) -> Iterator[Clip]:
    """`count` clips of 2 to 15 s, each of another piece; the sound fonts take turns.

    Raises:
        ExtraError: fluidsynth is missing or fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "piece.mid"
        for number in range(count):
            random = randomness("piece", number)
            file.write_bytes(composed(random))
            samples = played(file, fonts[number % len(fonts)])
            length = int(RATE * random.uniform(2.0, 15.0))
            samples = at_level(samples[:length], random)
            piece = f"piece {number}"
            yield Clip(samples, "music", f"fluidsynth: {piece}", "CC0-1.0", split_of(piece))


def played(file: Path, font: Path) -> Float:
    """A MIDI file as mono sound of 16 kHz, without the silence before it."""
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "played.wav"
        run("fluidsynth", *PLAYER, "-F", str(wav), str(font), str(file))
        with soundfile.SoundFile(wav) as sound:
            samples = read_16k(sound)
    loud = np.flatnonzero(np.abs(samples) > 0.003)
    return samples[loud[0] :] if len(loud) else samples


def composed(random: np.random.Generator) -> bytes:
    """A MIDI file of 8 bars: melody, and often chords, bass and drums over it."""
    root, scale = int(random.integers(48, 66)), SCALES[random.integers(len(SCALES))]
    chords = [0, *(int(degree) for degree in random.integers(0, len(scale), size=3))] * 2
    parts = [_melody(random, root + 12, scale, chords)]
    if random.random() < 0.65:
        parts.append(_chords(random, root, scale, chords))
    if random.random() < 0.6:
        parts.append(_bass(random, root - 12, scale, chords))
    programs = [int(random.choice(PROGRAMS)) for _ in parts]
    tracks = [
        _track(notes, channel, programs[channel], int(random.integers(60, 115)))
        for channel, notes in enumerate(parts)
    ]
    if random.random() < 0.5:
        tracks.append(_track(_drums(random), _DRUMS, 0, 95))
    beats = random.uniform(60, 170)
    tempo = b"\x00\xff\x51\x03" + int(60e6 / beats).to_bytes(3, "big") + b"\x00\xff\x2f\x00"
    chunks = [_chunk(b"MTrk", track) for track in (tempo, *tracks)]
    return _chunk(b"MThd", struct.pack(">HHH", 1, len(chunks), _TICKS)) + b"".join(chunks)


Note = tuple[float, float, int]
"""Start and length in beats, and the key."""


def _key(root: int, scale: tuple[int, ...], degree: int) -> int:
    return root + 12 * (degree // len(scale)) + scale[degree % len(scale)]


def _melody(
    random: np.random.Generator, root: int, scale: tuple[int, ...], chords: list[int]
) -> list[Note]:
    notes, at, degree = [], 0.0, chords[0]
    lengths = random.choice([0.25, 0.5, 0.5, 1.0, 1.5, 2.0], size=4)
    while at < 4 * len(chords):
        length = float(random.choice(lengths))
        degree = int(np.clip(degree + random.integers(-3, 4), -2, 10))
        if random.random() > 0.12:
            notes.append((at, length * random.uniform(0.5, 1.0), _key(root, scale, degree)))
        at += length
    return notes


def _chords(
    random: np.random.Generator, root: int, scale: tuple[int, ...], chords: list[int]
) -> list[Note]:
    step = float(random.choice([0.5, 1.0, 2.0, 4.0]))
    broken = random.random() < 0.4
    notes = []
    for at in np.arange(0, 4 * len(chords), step):
        keys = [_key(root, scale, chords[int(at // 4)] + third) for third in (0, 2, 4)]
        if broken:
            keys = [keys[int(at / step) % 3]]
        notes += [(float(at), step * 0.95, key) for key in keys]
    return notes


def _bass(
    random: np.random.Generator, root: int, scale: tuple[int, ...], chords: list[int]
) -> list[Note]:
    step = float(random.choice([0.5, 1.0, 2.0]))
    return [
        (float(at), step * 0.8, _key(root, scale, chords[int(at // 4)]))
        for at in np.arange(0, 4 * len(chords), step)
    ]


def _drums(random: np.random.Generator) -> list[Note]:
    """One bar of bass drum, snare and hi-hat (keys 36, 38, 42; no claps) again and again."""
    chances = {36: (0.9, 0.1, 0.6, 0.2), 38: (0.05, 0.9, 0.1, 0.9), 42: (0.9, 0.9, 0.9, 0.9)}
    bar = [
        (beat + half, key)
        for key, chance in chances.items()
        for beat in range(4)
        for half in (0.0, 0.5)
        if random.random() < chance[beat] * (1.0 if half == 0.0 else 0.4)
    ]
    return [(4.0 * count + at, 0.2, key) for count in range(8) for at, key in bar]


def _track(notes: list[Note], channel: int, program: int, loudness: int) -> bytes:
    events = sorted(
        event
        for start, length, key in notes
        for event in (
            (round(start * _TICKS), 1, key),
            (round((start + length) * _TICKS), 0, key),
        )
    )
    data, before = bytes([0, 0xC0 | channel, program]), 0
    for at, on, key in events:
        data += _varying(at - before) + bytes([0x80 | on << 4 | channel, key, loudness])
        before = at
    return data + b"\x00\xff\x2f\x00"


def _varying(number: int) -> bytes:
    """A number as MIDI's variable-length quantity."""
    octets = [number & 0x7F]
    while number := number >> 7:
        octets.insert(0, 0x80 | number & 0x7F)
    return bytes(octets)


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack(">I", len(data)) + data
