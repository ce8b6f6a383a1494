"""Speech by espeak-ng and flite: in every language and voice that they have."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from tinyast.data.extra.clips import (
    RATE,
    Clip,
    at_level,
    randomness,
    read_16k,
    split_of,
)
from tinyast.data.extra.programs import run
from tinyast.data.extra.sentences import LATIN, SENTENCES

UNFIT = ("kl", "piqd")
"""Numbers crash espeak-ng in the first, and the second can say little else."""
FLITE_VOICES = ("kal", "kal16", "awb", "rms", "slt")
VARIANTS = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5"),
    *("Alex", "Andy", "Annie", "Denis", "Gene", "Hugo", "Lee", "Mario", "Michael", "Tweaky"),
    *("adam", "anika", "aunty", "belinda", "boris", "caleb", "david", "ed", "grandma", "grandpa"),
    *("john", "klatt", "klatt4", "linda", "max", "norbert", "quincy", "rob", "shelby", "steph"),
    *("travis", "victor", "whisper", "whisperf", "zac"),
)
"""Voices of espeak-ng that may speak any language."""


def speeches(count: int) -> Iterator[Clip]:
    """`count` clips of 0.5 to 12 s: one by flite after every eleven by espeak-ng.

    Raises:
        ExtraError: A program is missing or fails.
    """
    languages = espeak_languages()
    common = [name for name in languages if name.split("-")[0] in SENTENCES]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "said.wav"
        for number in range(count):
            if number % 12 == 11:
                yield _by_flite(number, file)
            else:
                some = languages if number % 2 else common
                yield _by_espeak(number, some[number * 7 % len(some)], file)


def espeak_languages() -> list[str]:
    """The languages that espeak-ng speaks, sorted."""
    lines = run("espeak-ng", "--voices").splitlines()[1:]
    found = sorted({line.split()[1] for line in lines})
    # espeak-ng lists names that it does not take back.
    return [name for name in found if re.fullmatch(r"[a-z0-9-]+", name) and name not in UNFIT]


def _by_espeak(number: int, language: str, file: Path) -> Clip:
    random = randomness("espeak", language, number)
    variant = str(random.choice(VARIANTS))
    speed, pitch = random.integers(110, 240), random.integers(15, 85)
    run(
        *("espeak-ng", "-v", f"{language}+{variant}", "-w", str(file)),
        *("-s", str(speed), "-p", str(pitch), "--", _text(language, random)),
    )
    # The variant is the speaker: it stays in one split, whatever it speaks.
    return _clip(file, f"espeak-ng: {language}+{variant}", f"espeak {variant}", random)


def _by_flite(number: int, file: Path) -> Clip:
    random = randomness("flite", number)
    voice = FLITE_VOICES[number // 12 % len(FLITE_VOICES)]
    stretch = f"duration_stretch={random.uniform(0.8, 1.4):.2f}"
    run(
        *("flite", "-voice", voice, "--setf", stretch, "-t", _text("en", random), "-o", str(file)),
    )
    return _clip(file, f"flite: {voice}", f"flite {voice.removesuffix('16')}", random)


def _clip(file: Path, source: str, piece: str, random: np.random.Generator) -> Clip:
    with soundfile.SoundFile(file) as sound:
        samples = read_16k(sound)[: 12 * RATE]
    return Clip(at_level(samples, random), "speech", source, "CC0-1.0", split_of(piece))


def _text(language: str, random: np.random.Generator) -> str:
    """A few sentences or words of the language, or numbers: every language has those."""
    known = SENTENCES.get(language.split("-")[0])
    if known is None or random.random() < 0.25:
        numbers = random.integers(0, 10 ** random.integers(1, 5), size=random.integers(1, 7))
        text = ", ".join(str(number) for number in numbers)
        return text if random.random() < 0.5 else f"{text}. {random.choice(LATIN)}"
    text = " ".join(random.choice(known, size=random.integers(1, 4)))
    if random.random() < 0.2:
        words = text.split()
        first = random.integers(len(words))
        text = " ".join(words[first : first + random.integers(1, 3)])
    return text
