"""Clips out of the sound files of Debian packages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile

from tinyast.arrays import Float
from tinyast.data.extra.catalogue import REJECTED, Package
from tinyast.data.extra.clips import RATE, Clip, randomness, read_16k
from tinyast.data.extra.music import played

SOUND = re.compile(r"\.(ogg|oga|wav|flac|mp3|opus|au|mid|midi)$", re.IGNORECASE)
LONGEST, SHORTEST = 15.0, 0.15
"""Seconds. Longer files are cut, shorter ones are left out."""
QUIETEST = 0.004
"""A clip that never gets louder is left out."""
KINDS = re.compile(
    r"dog|bark|puppy|rooster|cock|pig|oink|cow|moo|frog|croak|ribbit|toad|cat|meow|kitten|hen\b"
    r"|chick|cluck|insect|bee|fly|mosquito|wasp|sheep|lamb|goat|baa|crow|raven|rain|wave|sea\b|ocean"
    r"|surf|fire|flame|burn|cricket|cicada|bird|chirp|tweet|canary|drip|drop|water|splash|swim|wind"
    r"|pour|liquid|toilet|flush|thunder|storm|lightning|baby|cry|sneez|clap|applau|cheer|breath|cough"
    r"|foot|step|walk|laugh|giggl|haha|brush|teeth|snor|drink|sip|gulp|door|gate|knock|mouse|click"
    r"|button|press|toggle|\bkey|keypress|keyb|typ|creak|can\b|wash|vacuum|clock|\btick|ticking|alarm|glass|break|shatter"
    r"|heli|chopper|saw\b|saw[_-]|siren|police|horn|honk|engine|motor|car\b|truck|train|rail|bell"
    r"|chime|gong|plane|jet|rocket|firework|explo|boom|bang|burst|crash|ambien|nature|weather|hum\b",
    re.IGNORECASE,
)
"""Names of files that may hold one of ESC-50's kinds, or that sound much like one."""


def recorded(package: Package, root: Path, font: Callable[[], Path]) -> Iterator[Clip]:
    """At most `package.clips` clips of what was unpacked into `root`, the same ones every time.

    MIDI files are played with what `font` returns.
    """
    files = sorted(path for path in root.rglob("*") if SOUND.search(path.name) and path.is_file())
    files = [path for path in files if _wanted(package, path.relative_to(root))]
    order = randomness("order", package.name, package.only).permutation(len(files))
    left, share = package.clips, max(1, -(-package.clips // max(1, len(files))))
    for at in order:
        name = str(files[at].relative_to(root))
        if name.removeprefix("usr/share/") in REJECTED:
            continue
        for samples in _cut(files[at], font, min(left, share, package.cuts), name):
            left -= 1
            source = f"{package.name}: {name}"
            yield Clip(samples, package.group, source, package.licence, package.split)
        if left <= 0:
            return


def _wanted(package: Package, path: Path) -> bool:
    name = str(path)
    if package.only and not re.search(package.only, name):
        return False
    if package.without and re.search(package.without, name, re.IGNORECASE):
        return False
    return package.group in ("speech", "music") or not KINDS.search(path.stem)


def _cut(file: Path, font: Callable[[], Path], most: int, name: str) -> Iterator[Float]:
    """The whole of a short file; of a long one up to `most` stretches that do not overlap."""
    try:
        if file.suffix.startswith(".mid"):
            samples = played(file, font())
            for first, last in _stretches(len(samples) / RATE, most, name):
                yield from _loud(samples[int(first * RATE) : int(last * RATE)])
            return
        with soundfile.SoundFile(file) as sound:
            for first, last in _stretches(sound.frames / sound.samplerate, most, name):
                yield from _loud(read_16k(sound, first, last))
    except soundfile.LibsndfileError:
        return


def _stretches(seconds: float, most: int, name: str) -> list[tuple[float, float]]:
    """The cuts of a sound of that length in seconds: begin and end of each stretch."""
    if seconds < SHORTEST:
        return []
    if seconds <= LONGEST:
        return [(0.0, seconds)]
    random = randomness("cut", name)
    slot = max(LONGEST, seconds / most)
    found = []
    for begin in np.arange(most) * slot:
        room, length = min(slot, seconds - begin), float(random.uniform(3.0, LONGEST))
        first = float(begin) + random.uniform(0, max(0.0, room - LONGEST))
        if room > LONGEST / 3:
            found.append((first, min(first + length, seconds)))
    return found


def _loud(samples: Float) -> Iterator[Float]:
    if np.abs(samples).max(initial=0) > QUIETEST:
        yield np.clip(samples, -1, 1)
