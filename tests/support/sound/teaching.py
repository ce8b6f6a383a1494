"""Five kinds of sound made for tests to teach: spoken words, three instruments, an alarm.

Pitch, level, room and background vary from clip to clip, and so do length, rate and format.
"""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from tinyast.data.extra.music import PLAYER

Float = NDArray[np.float32]

RATE = 32_000  # Hz, at which clips are made
FONT = Path("/usr/share/sounds/sf2/TimGM6mb.sf2")
INSTRUMENTS = {"guitar": 25, "flute": 73, "trumpet": 56}  # programs of General MIDI, from 0
KINDS = ("spoken_word", *INSTRUMENTS, "alarm_tone")
WORDS = (
    "window bridge garden yellow seven planet kettle morning silver paper orange river button "
    "winter candle market pocket summer bottle forest ladder copper engine hollow basket carpet "
    "dragon feather island jacket"
)
VOICES = ("en-gb", "en-us", "en-gb-scotland", "en-029", "en-us-nyc")
VARIANTS = ("m1", "m3", "m7", "f2", "f4", "f5", "Alex", "Annie", "klatt4", "linda", "steph")
NOTES, BEAT = 4, 0.35  # in a phrase; seconds
PHRASE = 4.0  # seconds from one phrase to the next
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
RATES = (16_000, 22_050, 44_100, 48_000)


def write_clips(folder: Path, count: int, skip: int = 0, kinds: tuple[str, ...] = KINDS) -> None:
    """Write `count` clips of each kind into `folder`/KIND, after the first `skip` of the series."""
    for kind in kinds:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number, sound in enumerate(_dry(kind, skip + count)):
            if number < skip:
                continue
            random = np.random.default_rng([KINDS.index(kind), number])
            samples, rate = _placed(sound, random)
            path = folder / kind / f"{number:02d}{SUFFIXES[random.integers(len(SUFFIXES))]}"
            soundfile.write(path, samples, rate)


def _placed(sound: Float, random: np.random.Generator) -> tuple[Float, int]:
    """The sound in a room and over a background, at some level, rate and length."""
    rate = int(random.choice(RATES))
    made = soxr.resample(sound, RATE, rate).astype(np.float64)
    before, after = (round(rate * random.uniform(0, 1)) for _ in range(2))
    made = np.pad(made, (before, after))
    if random.random() < 0.6:
        tail = np.arange(round(rate * random.uniform(0.1, 0.5)))
        room = random.normal(0, 1, len(tail)) * 10 ** (-3 * tail / len(tail))
        room *= random.uniform(0.2, 0.8) / np.sqrt((room**2).sum())
        room[0] += 1
        size = 1 << (len(made) + len(room)).bit_length()  # a size that is quick to transform
        made = np.fft.irfft(np.fft.rfft(made, size) * np.fft.rfft(room, size), size)[: len(made)]
    spectrum = np.fft.rfft(random.normal(0, 1, 1 << len(made).bit_length()))
    spectrum /= np.maximum(np.arange(len(spectrum)), 20) ** random.uniform(0, 1)
    background = np.fft.irfft(spectrum)[: len(made)]
    ratio = 10 ** (-random.uniform(12, 35) / 20)
    made += background * ratio * made.std() / background.std()
    made *= 10 ** (-random.uniform(3, 30) / 20) / np.abs(made).max()
    return made.astype(np.float32), rate


def _dry(kind: str, count: int) -> Iterator[Float]:
    if kind == "spoken_word":
        return (_word(number) for number in range(count))
    if kind == "alarm_tone":
        return (_alarm(number) for number in range(count))
    return _phrases(INSTRUMENTS[kind], count)


def _word(number: int) -> Float:
    """A word by espeak-ng, at RATE."""
    random = np.random.default_rng([100, number])
    voice = f"{random.choice(VOICES)}+{random.choice(VARIANTS)}"
    options = ("-s", str(random.integers(120, 200)), "-p", str(random.integers(20, 80)))
    words = WORDS.split()
    word = words[number % len(words)]
    run = ["espeak-ng", "-v", voice, *options, "--stdout", word]
    wav = subprocess.run(run, check=True, capture_output=True).stdout
    samples = np.frombuffer(wav[44:], "<i2").astype(np.float32) / 32768  # its header has no length
    made: Float = soxr.resample(samples, 22_050, RATE)
    return made


def _alarm(number: int) -> Float:
    """Beeps of two tones with overtones in turn."""
    random = np.random.default_rng([200, number])
    low, high = np.array([1, random.uniform(1.15, 1.5)]) * random.uniform(600, 1400)
    length = random.uniform(0.1, 0.3)
    t = np.arange(round(RATE * random.uniform(1.5, 4))) / RATE
    pitch = np.where(t // length % 2 == 0, low, high)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    tone = np.sin(phase) + random.uniform(0.1, 0.5) * np.sin(3 * phase)
    on = (t / length % 1) < random.uniform(0.6, 1)
    return (0.4 * tone * on).astype(np.float32)


def _phrases(program: int, count: int) -> Iterator[Float]:
    """Phrases of four notes, by fluidsynth in one go."""
    events = bytes([0, 0xC0, program])
    waited = 0
    for number in range(count):
        random = np.random.default_rng([300 + program, number])
        key, last = int(random.integers(52, 76)), 0.0
        for _ in range(NOTES):
            key += int(random.integers(-5, 6))
            length = BEAT * float(random.choice([0.5, 1, 2]))
            loud = int(random.integers(60, 120))
            events += _varying(waited) + bytes([0x90, key, loud])
            events += _varying(round(1000 * length)) + bytes([0x80, key, 0])
            last, waited = last + length, 0
        waited = round(1000 * (PHRASE - last))
    events += _varying(waited) + b"\xff\x2f\x00"
    tempo = b"\x00\xff\x51\x03" + (1_000_000).to_bytes(3, "big")  # a tick is a millisecond
    track = tempo + events
    song = b"MThd" + struct.pack(">IHHH", 6, 0, 1, 1000) + b"MTrk"
    song += struct.pack(">I", len(track)) + track
    with tempfile.TemporaryDirectory() as name:
        midi, wav = Path(name, "song.mid"), Path(name, "song.wav")
        midi.write_bytes(song)
        play = ["fluidsynth", *PLAYER, "-F", str(wav), str(FONT), str(midi)]
        subprocess.run(play, check=True, capture_output=True)
        samples, rate = soundfile.read(wav, dtype="float32")
    assert rate == RATE
    mono: Float = samples.mean(axis=1)
    for number in range(count):
        start = round(number * PHRASE * RATE)
        yield mono[start : start + round(PHRASE * RATE)]


def _varying(number: int) -> bytes:
    """A number as MIDI's variable-length quantity."""
    octets = [number & 0x7F]
    while number := number >> 7:
        octets.insert(0, 0x80 | number & 0x7F)
    return bytes(octets)
