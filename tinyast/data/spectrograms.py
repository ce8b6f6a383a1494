"""Each clip's pictures, computed once: its own, and variants played faster, slower or in a room.

They are kept as mel power, before the logarithm: powers of independent sounds add, so training
can mix and filter clips as if it mixed and filtered the sound.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soxr
from numpy.typing import NDArray

from tinyast.arrays import Float
from tinyast.audio.decoding import read_file
from tinyast.audio.resampling import resample
from tinyast.data.parallel import shared_out
from tinyast.errors import AudioError, DataError
from tinyast.features.log_mel import FeatureSettings, mel_power

if TYPE_CHECKING:
    from tinyast.data.datasets import Dataset  # imports pandas, which worker processes do not need


@dataclass(frozen=True)
class VariantSettings:
    """How the variants of a clip are made."""

    variants: int  # pictures of each clip; the first is the clip as it is
    max_speed: float  # fastest playback; the slowest is its inverse
    reverb: float  # share of the variants with a simulated room
    clipping: float  # share of the variants that are clipped
    seed: int = 0


def load_clip(path: Path, settings: FeatureSettings) -> Float:
    """The clip's first window at the model's rate, (up to n_samples,) float32.

    Raises DataError naming the clip if it cannot be read.
    """
    try:
        samples, rate = read_file(path)
    except (AudioError, OSError) as error:
        raise DataError(f"{path}: {error}") from error
    return resample(samples[: round(settings.window_s * rate)], rate, settings.sampling_rate)


def clip_spectra(path: Path, settings: FeatureSettings, how: VariantSettings) -> Float:
    """All pictures of one clip as mel power, (variants, n_mels, n_frames).

    Random draws depend only on the clip's name and the seed, never on order or process.
    """
    samples = load_clip(path, settings)
    digest = hashlib.sha256(f"{how.seed} {path.stem}".encode()).digest()
    random = np.random.default_rng(list(digest[:16]))
    pictures = [mel_power(samples, settings)]
    while len(pictures) < how.variants:
        varied = _change_speed(samples, how.max_speed, random)
        varied = _place(varied, settings.n_samples, random)
        if random.random() < how.reverb:
            varied = _reverberate(varied, settings.sampling_rate, random)
        if random.random() < how.clipping:
            varied = _clip(varied, random)
        pictures.append(mel_power(varied, settings))
    return np.stack(pictures)


def dataset_spectra(
    dataset: Dataset,
    settings: FeatureSettings,
    how: VariantSettings,
    cache: Path,
    workers: int = 2,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Pictures of all clips, (clips, variants, n_mels, n_frames), mapped from a file in `cache`.

    The file is named after all that went into it, and written under a temporary name first, so
    that a broken run cannot leave a partial file. `progress` receives the number of finished
    clips.
    """
    what = {
        "features": settings.to_dict(),
        "how": vars(how),
        "clips": [_stamp(p) for p in dataset.paths],
    }
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
    target = cache / f"spectra-{key}.npy"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # Write sequentially, not mapped: on a full disk a mapped file kills the process.
        partial_file = cache / f"{target.stem}.{os.getpid()}.part"
        shape = (len(dataset), how.variants, settings.n_mels, settings.n_frames)
        try:
            work = partial(clip_spectra, settings=settings, how=how)
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            with partial_file.open("wb") as out, shared_out(workers) as share:
                np.lib.format.write_array_header_1_0(out, header)
                for index, pictures in enumerate(share(work, dataset.paths)):
                    out.write(pictures.astype("<f4").tobytes())
                    if progress:
                        progress(index + 1)
            partial_file.rename(target)
        except OSError as error:
            raise DataError(f"cannot write {target}: {error.strerror}") from error
        finally:
            partial_file.unlink(missing_ok=True)
    return np.load(target, mmap_mode="r")  # type: ignore[no-any-return]


def _stamp(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return path.name, status.st_size, status.st_mtime_ns


def _change_speed(samples: Float, most: float, random: np.random.Generator) -> Float:
    speed = most ** random.uniform(-1, 1)
    out: Float = soxr.resample(samples, 16_000 * speed, 16_000, quality="LQ").astype(np.float32)
    return out


def _place(samples: Float, length: int, random: np.random.Generator) -> Float:
    """Cut to `length` at a random place, or put at a random place in silence or in a loop."""
    if len(samples) >= length:
        start = random.integers(len(samples) - length + 1)
        return samples[start : start + length]
    start = random.integers(length - len(samples) + 1)
    mode = "wrap" if random.random() < 0.5 else "constant"
    return np.pad(samples, (start, length - len(samples) - start), mode=mode)  # type: ignore[call-overload, no-any-return]


def _reverberate(samples: Float, rate: int, random: np.random.Generator) -> Float:
    """A room as exponentially fading noise after the direct sound (Polack 1988)."""
    seconds = random.uniform(0.15, 0.9)  # until the sound has faded by 60 dB
    n = int(seconds * rate)
    response = random.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    response *= 10 ** (random.uniform(-15, 0) / 20) / np.sqrt(np.sum(response**2))
    response[0] += 1
    size = 1 << int(len(samples) + n - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)
    return wet[: len(samples)].astype(np.float32)


def _clip(samples: Float, random: np.random.Generator) -> Float:
    """Too loud for the recorder: up to a fifth of the sounding samples is cut off."""
    magnitude = np.abs(samples)
    sounding = magnitude[magnitude > magnitude.max() * 1e-3]
    if not len(sounding):
        return samples
    limit = np.quantile(sounding, 1 - random.uniform(0.01, 0.2))
    return np.clip(samples, -limit, limit)
