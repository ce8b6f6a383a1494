"""Turn a clip into the 64x64 picture that the model sees.

In numpy, for many clips at once as training has them; `tinyast.features.graph` does the same to one
window at a time, and is held to this. The numbers that shape it are a `FeatureSettings`, saved
beside every checkpoint as `preprocessor_config.json` and read back from there.

There are two designs, told apart by `scale`. "slaney" is that of the first four versions: frames
of 64 ms, bands as `librosa.filters.mel` has them by default (Slaney's Auditory Toolbox, 1998), to
which the tests hold this module. "audioset" is what a network trained on AudioSet expects
(`tinyast.features.audioset`); its columns may be of unequal width (`tinyast.features.columns`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tinyast.arrays import Float
from tinyast.features import audioset
from tinyast.features.columns import equal_shares
from tinyast.features.offset import without_offset

SCALES = ("slaney", "audioset")
AT_ONCE = 64  # columns: their spectra stay in a second-level cache; fewer are more calls


@dataclass(frozen=True)
class FeatureSettings:
    """The shape of the spectrogram. Defaults are those of version 4; see `presets`."""

    sampling_rate: int = 16_000  # Hz
    window_s: float = 5.0  # seconds of sound in one clip
    n_fft: int = 1024  # samples in one frame, Hann-windowed (64 ms)
    hop_length: int = 625  # samples from one frame to the next
    pool: int = 2  # frames averaged, in power, into one column of the picture (Welch 1967)
    n_mels: int = 64  # mel bands
    fmin: float = 50.0  # Hz, lower edge of the lowest band
    fmax: float = 8_000.0  # Hz, upper edge of the highest band
    top_db: float = 80.0  # dB below the clip's loudest cell at which it is floored
    # Mel scale, window, pre-emphasis and normalisation; "audioset" has its own fmin, fmax, top_db.
    scale: Literal["slaney", "audioset"] = "slaney"
    columns: int = 0  # columns of equal shares of the sound (`equal_shares`); 0: one for each hop

    @property
    def n_samples(self) -> int:
        """Samples in one clip."""
        return round(self.window_s * self.sampling_rate)

    @property
    def n_frames(self) -> int:
        """Columns of a clip's picture."""
        return self.columns or self.n_hops

    @property
    def n_hops(self) -> int:
        """Columns of equal width, before `equal_shares`."""
        return self.n_samples // (self.hop_length * self.pool)

    def unpooled(self) -> FeatureSettings:
        """The same settings with one column per frame, as training changes clips.

        In the "audioset" design with all of its bands too: every picture of that design comes
        from the same spectra.
        """
        if self.scale == "audioset":
            return replace(self, pool=1, columns=0, n_mels=audioset.BANDS)
        return replace(self, pool=1)

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros put before and after a clip so that its frames lie centred in their hops."""
        total = self.n_fft - self.hop_length
        return total // 2, total - total // 2

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FeatureSettings:
        """Read settings from a mapping, ignoring keys that are not ours."""
        names = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in names})

    def to_dict(self) -> dict[str, Any]:
        """All settings by name; the first four versions had none but Slaney's scale."""
        values = asdict(self)
        if self.scale == "slaney" and not self.columns:
            del values["scale"], values["columns"]
        return values


def hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's mel scale: linear below 1 kHz, logarithmic above."""
    linear = hz * 3 / 200
    return np.where(hz < 1000, linear, 15 + np.log(np.maximum(hz, 1e-9) / 1000) * 27 / np.log(6.4))


def mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


@lru_cache(maxsize=8)
def mel_filterbank(settings: FeatureSettings) -> Float:
    """Triangular filters, (n_mels, n_fft // 2 + 1); of unit area on Slaney's scale."""
    if settings.scale == "audioset":
        return audioset.filterbank(settings.n_mels, settings.n_fft, settings.sampling_rate)
    bins = np.fft.rfftfreq(settings.n_fft, 1 / settings.sampling_rate)
    low, high = hz_to_mel(np.array([settings.fmin, settings.fmax], dtype=np.float64))
    edges = mel_to_hz(np.linspace(low, high, settings.n_mels + 2))
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    triangles = np.maximum(0, np.minimum(rise, fall))
    return (triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


@lru_cache(maxsize=8)
def hann(n: int) -> Float:
    """Hann's window of `n` samples, in the periodic form, as in scipy.signal.get_window."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)).astype(np.float32)


def window_of(settings: FeatureSettings) -> Float:
    """The window that frames are multiplied by, (n_fft,)."""
    if settings.scale == "audioset":
        return audioset.window(settings.n_fft)
    return hann(settings.n_fft)


def mel_power(samples: Float, settings: FeatureSettings) -> Float:
    """Mel power spectrogram, (n_mels, n_hops), of a clip of at most `n_samples` samples.

    A shorter clip is zero-padded at its end; a longer one raises ValueError.
    """
    if samples.ndim != 1 or len(samples) > settings.n_samples:
        raise ValueError(
            f"expected up to {settings.n_samples} samples in one dimension, got {samples.shape}"
        )
    before, after = settings.padding
    padded = np.zeros(before + settings.n_samples + after, dtype=np.float32)
    padded[before : before + len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, settings.n_fft)
    frames = frames[:: settings.hop_length]
    window, filters = window_of(settings), mel_filterbank(settings)
    mel = np.empty((settings.n_mels, settings.n_hops), np.float32)
    at_once = AT_ONCE * settings.pool
    windowed = np.empty((at_once, settings.n_fft), np.float32)
    spectrum = np.empty((at_once, settings.n_fft // 2 + 1), np.complex64)
    for first in range(0, settings.n_hops, AT_ONCE):
        some = frames[first * settings.pool :][:at_once]
        np.multiply(some, window, out=windowed[: len(some)])
        # The stubs know no single precision.
        np.fft.rfft(windowed[: len(some)], out=spectrum[: len(some)])  # type: ignore[arg-type]
        parts = spectrum[: len(some)].view(np.float32)  # real and imaginary alternate
        np.square(parts, out=parts)
        power = parts[:, ::2] + parts[:, 1::2]  # (columns * pool, bins)
        if settings.pool > 1:
            power = power.reshape(-1, settings.pool, power.shape[1]).mean(axis=1)
        np.matmul(filters, power.T, out=mel[:, first : first + len(power)])
    return mel


def pooled(power: Float, pool: int) -> Float:
    """The mean of every `pool` columns: (..., n_frames * pool) to (..., n_frames)."""
    if pool == 1:
        return power
    columns: Float = power.reshape(*power.shape[:-1], -1, pool).mean(axis=-1)
    return columns


def normalise(power: Float, settings: FeatureSettings) -> Float:
    """The picture of a clip, (..., n_mels, n_frames), of its power, (..., n_mels, n_hops).

    On Slaney's scale each clip is taken in decibels below its loudest cell, floored at `top_db`,
    and brought to zero mean and unit variance, so the level at which it was recorded drops out. A
    clip of zeros stays zeros. The "audioset" design keeps the scale of `audioset.normalise`.
    """
    if settings.columns:
        power = power @ equal_shares(power, settings.columns).swapaxes(-1, -2)
    if settings.scale == "audioset":
        return audioset.normalise(power)
    axes = (-2, -1)
    peak = power.max(axis=axes, keepdims=True)
    relative = power / np.maximum(peak, np.finfo(np.float32).tiny)
    db = np.maximum(relative, np.float32(10 ** (-settings.top_db / 10)))
    np.log10(db, out=db)
    db *= 10
    db = np.asarray(db - db.mean(axis=axes, keepdims=True), np.float32)
    deviation = db.std(axis=axes, keepdims=True)
    db /= np.where(deviation > 0, deviation, np.inf)
    return db


def log_mel(samples: Float, settings: FeatureSettings) -> Float:
    """The model's input for one clip: (n_mels, n_frames), float32."""
    return normalise(mel_power(without_offset(samples), settings), settings)
