"""Change clips as distance, rooms, noise and codecs change sound in practice.

Each way takes mono samples at 16 kHz, (n,) float32, and returns samples with their new rate.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from tinyast.arrays import Float
from tinyast.audio.resampling import resample

RATE = 16_000  # Hz, of the clips given
Random = np.random.Generator
Way = Callable[[Float, Random], tuple[Float, int]]


def ways(background: Sequence[Float]) -> dict[str, Way]:
    """All ways, by the name they have in the table.

    `background` are clips, (n,) float32 at 16 kHz, to make recorded noise of; for figures they
    must be clips that were not trained on.
    """
    recorded = partial(_recorded, background=background)
    return {
        "level -30 dB, as 16-bit PCM": lambda samples, _: (_pcm16(samples * 10**-1.5), RATE),
        "level +12 dB": lambda samples, _: (_float(samples * 10**0.6), RATE),
        "shifted by up to 2.5 s, nothing lost": _roll,
        "shifted by up to 2.5 s, zeros follow": _shift,
        "white noise, 20 dB SNR": partial(_noisy, noise=_white, snr_db=20),
        "white noise, 10 dB SNR": partial(_noisy, noise=_white, snr_db=10),
        "recorded noise, 20 dB SNR": partial(_noisy, noise=recorded, snr_db=20),
        "recorded noise, 10 dB SNR": partial(_noisy, noise=recorded, snr_db=10),
        "room, 0.6 s of reverberation": _room,
        "telephone band": _telephone,
        "clipped at a tenth of its samples": _clip,
        "MP3": partial(_codec, container="MP3", coding="MPEG_LAYER_III"),
        "Opus": partial(_codec, container="OGG", coding="OPUS"),
        "captured at 8 kHz": partial(_capture, rate=8_000),
        "captured at 22.05 kHz": partial(_capture, rate=22_050),
        "captured at 44.1 kHz": partial(_capture, rate=44_100),
        "captured at 48 kHz": partial(_capture, rate=48_000),
    }


def points_lost(clean: NDArray[np.bool_], changed: NDArray[np.bool_]) -> tuple[float, float]:
    """Points of accuracy lost and half their 95 % interval, paired clip by clip.

    `clean` and `changed` are (clips,): whether each was right before and after.
    """
    lost = clean.astype(float) - changed
    deviation = lost.std(ddof=1) if len(lost) > 1 else 0.0
    return 100 * float(lost.mean()), 196 * float(deviation / np.sqrt(len(lost)))


def _float(samples: object) -> Float:
    return np.asarray(samples, dtype=np.float32)


def _pcm16(samples: Float) -> Float:
    return _float(np.clip(np.round(samples * 32768), -32768, 32767) / 32768)


def _by(random: Random) -> int:
    """Samples to delay a clip of 5 s, negative to advance it: at most half of its length."""
    return int(random.integers(-RATE * 5 // 2, RATE * 5 // 2 + 1))


def _roll(samples: Float, random: Random) -> tuple[Float, int]:
    """Earlier or later; what leaves the clip at one end comes in at the other."""
    return np.roll(samples, _by(random)), RATE


def _shift(samples: Float, random: Random) -> tuple[Float, int]:
    """Earlier or later; what leaves the clip is lost, however much of its sound that is."""
    by = _by(random)
    shifted = np.zeros_like(samples)
    if by >= 0:
        shifted[by:] = samples[: len(samples) - by]
    else:
        shifted[:by] = samples[-by:]
    return shifted, RATE


def _noisy(
    samples: Float, random: Random, noise: Callable[[int, Random], Float], snr_db: float
) -> tuple[Float, int]:
    """Noise so far below the mean power of the clip's sounding part (within 40 dB of its peak)."""
    added = noise(len(samples), random)
    blocks = np.square(samples[: len(samples) // 400 * 400].reshape(-1, 400)).mean(axis=1)
    loud = blocks[blocks >= blocks.max() * 1e-4]
    wanted = loud.mean() * 10 ** (-snr_db / 10)
    return _float(samples + added * np.sqrt(wanted / max(np.square(added).mean(), 1e-20))), RATE


def _white(n: int, random: Random) -> Float:
    return _float(random.standard_normal(n))


def _recorded(n: int, random: Random, background: Sequence[Float]) -> Float:
    """Up to six clips of equal power at once, like a busy place."""
    chosen = random.choice(len(background), min(6, len(background)), replace=False)
    total = np.zeros(n, np.float32)
    for index in chosen:
        clip = background[index][:n]
        power = max(float(np.square(clip).mean()), 1e-12)
        total[: len(clip)] += clip / np.sqrt(power)
    return total


def _room(samples: Float, random: Random) -> tuple[Float, int]:
    """Noise that fades by 60 dB in 0.6 s, as loud in all as the direct sound (Polack 1988)."""
    n = int(0.6 * RATE)
    tail = random.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    tail /= np.sqrt(np.square(tail).sum())
    tail[0] += 1
    size = len(samples) + n
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)
    return _float(wet[: len(samples)]), RATE


def _telephone(samples: Float, random: Random) -> tuple[Float, int]:
    """300 to 3,400 Hz at 8 kHz, in 8 bits by the mu law (ITU-T G.711)."""
    narrow = soxr.resample(samples, RATE, 8_000, quality="HQ")
    spectrum = np.fft.rfft(narrow)
    hz = np.fft.rfftfreq(len(narrow), 1 / 8_000)
    spectrum[(hz < 300) | (hz > 3_400)] = 0
    band = np.fft.irfft(spectrum, len(narrow))
    band /= max(float(np.abs(band).max()), 1e-9)
    law = np.sign(band) * np.log1p(255 * np.abs(band)) / np.log(256)
    law = np.round(law * 127) / 127
    return _float(np.sign(law) * np.expm1(np.abs(law) * np.log(256)) / 255), 8_000


def _clip(samples: Float, random: Random) -> tuple[Float, int]:
    """Too loud for the recorder: the tenth of the sounding samples that is loudest is cut off."""
    sounding = np.abs(samples[np.abs(samples) > np.abs(samples).max() * 1e-3])
    limit = float(np.quantile(sounding, 0.9)) if len(sounding) else 1.0
    return np.clip(samples, -limit, limit), RATE


def _codec(samples: Float, random: Random, container: str, coding: str) -> tuple[Float, int]:
    """Through a lossy codec and back, at libsndfile's middle quality."""
    packed = io.BytesIO()
    peak = max(1.0, float(np.abs(samples).max()))
    soundfile.write(packed, samples / peak, RATE, format=container, subtype=coding)
    packed.seek(0)
    back, rate = soundfile.read(packed, dtype="float32")
    return _float(back[: len(samples)]), rate


def _capture(samples: Float, random: Random, rate: int) -> tuple[Float, int]:
    return resample(samples, RATE, rate), rate
