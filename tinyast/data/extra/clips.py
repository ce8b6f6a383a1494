"""What every maker of sounds of no kind hands over: clips of 16 kHz with their source."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from tinyast.arrays import Float
from tinyast.audio.channels import select
from tinyast.errors import DataError

RATE = 16_000
VALIDATION_SHARE = 0.2


class ExtraError(DataError):
    """Sounds of no kind that could not be fetched or made."""


@dataclass(frozen=True)
class Clip:
    """`samples` are mono at 16 kHz in [-1, 1]; `source` names the voice, piece or file."""

    samples: Float
    group: str
    source: str
    licence: str
    split: str


def split_of(piece: str) -> str:
    """`train` or `val` for all clips of a piece, a voice or the like."""
    digest = hashlib.sha256(piece.encode()).digest()
    return "val" if digest[0] < 256 * VALIDATION_SHARE else "train"


def randomness(*key: str | int) -> np.random.Generator:
    """The same numbers for the same key, whatever else is made."""
    return np.random.default_rng(list(hashlib.sha256(repr(key).encode()).digest()))


def at_level(samples: Float | NDArray[np.float64], random: np.random.Generator) -> Float:
    """Peak between -20 and -1 dB of full scale."""
    peak = float(np.abs(samples).max(initial=1e-9))
    return (samples * (10 ** (random.uniform(-20, -1) / 20) / peak)).astype(np.float32)


def read_16k(sound: soundfile.SoundFile, first_s: float = 0, last_s: float = math.inf) -> Float:
    """An open sound file from `first_s` to `last_s`, mono at 16 kHz.

    Raises:
        soundfile.LibsndfileError: The file is damaged.
    """
    rate = sound.samplerate
    sound.seek(int(first_s * rate))
    frames = -1 if last_s == math.inf else int(last_s * rate) - int(first_s * rate)
    samples: Float = soxr.resample(
        select(sound.read(frames, dtype="float32", always_2d=True)), rate, RATE
    )
    return samples
