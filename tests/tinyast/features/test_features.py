"""The numpy features against librosa, on recordings as published."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
from numpy.typing import NDArray

from tinyast.arrays import Float
from tinyast.audio.decoding import read_file
from tinyast.audio.resampling import resample
from tinyast.features.log_mel import FeatureSettings, log_mel, mel_power, normalise
from tinyast.features.offset import without_offset

SETTINGS = FeatureSettings()


def by_librosa(samples: Float) -> NDArray[np.float32]:
    """The same picture, with librosa for every step that it knows."""
    before, after = SETTINGS.padding
    clear = without_offset(samples)
    padded = np.pad(clear, (before, SETTINGS.n_samples - len(samples) + after))
    frames = librosa.feature.melspectrogram(
        y=padded,
        sr=SETTINGS.sampling_rate,
        n_fft=SETTINGS.n_fft,
        hop_length=SETTINGS.hop_length,
        center=False,
        n_mels=SETTINGS.n_mels,
        fmin=SETTINGS.fmin,
        fmax=SETTINGS.fmax,
    )
    power = frames.reshape(SETTINGS.n_mels, SETTINGS.n_frames, SETTINGS.pool).mean(axis=2)
    db = librosa.power_to_db(power, ref=np.max, amin=1e-30, top_db=SETTINGS.top_db)
    return np.asarray((db - db.mean()) / db.std(), np.float32)


def test_agrees_with_librosa_on_the_originals(originals: list[Path]) -> None:
    assert len(originals) == 25
    for path in originals:
        samples, rate = read_file(path)
        heard = resample(samples, rate, SETTINGS.sampling_rate)[: SETTINGS.n_samples]
        np.testing.assert_allclose(log_mel(heard, SETTINGS), by_librosa(heard), atol=1e-4)


def test_short_clip_agrees_with_librosa(originals: list[Path]) -> None:
    samples, rate = read_file(originals[0])
    heard = resample(samples, rate, SETTINGS.sampling_rate)[:31_007]
    np.testing.assert_allclose(log_mel(heard, SETTINGS), by_librosa(heard), atol=1e-4)


@pytest.mark.parametrize("level", [1e-3, 4.0])
def test_level_drops_out(originals: list[Path], level: float) -> None:
    samples, rate = read_file(originals[3])
    heard = resample(samples, rate, SETTINGS.sampling_rate)[: SETTINGS.n_samples]
    louder = (heard * np.float32(level)).astype(np.float32)
    np.testing.assert_allclose(log_mel(louder, SETTINGS), log_mel(heard, SETTINGS), atol=2e-3)


def test_shows_all_of_a_clip() -> None:
    for second in range(5):
        heard = np.zeros(SETTINGS.n_samples, np.float32)
        heard[second * 16_000 :][:16_000] = np.random.default_rng(0).standard_normal(16_000)
        loud = log_mel(heard, SETTINGS).mean(axis=0) > 0
        # A second is 12.8 of the columns; frames reach over its ends by one column at most.
        first, last = np.flatnonzero(loud)[[0, -1]]
        assert abs(first - second * 12.8) <= 1
        assert abs(last + 1 - (second + 1) * 12.8) <= 1


@pytest.mark.parametrize("samples", [np.zeros(80_000), np.zeros(0), np.full(80_000, 1e-30)])
def test_silence_gives_finite_numbers(samples: NDArray[np.float64]) -> None:
    picture = log_mel(samples.astype(np.float32), SETTINGS)
    assert picture.shape == (64, 64)
    assert picture.dtype == np.float32
    assert np.isfinite(picture).all()


def test_a_batch_is_normalised_clip_by_clip() -> None:
    power = np.random.default_rng(0).gamma(1, 1, (3, 64, 64)).astype(np.float32)
    power *= np.array([1e-6, 1, 1e6], np.float32)[:, None, None]
    each = np.stack([normalise(clip, SETTINGS) for clip in power])
    np.testing.assert_allclose(normalise(power, SETTINGS), each, atol=1e-6)


def test_refuses_more_than_one_clip() -> None:
    with pytest.raises(ValueError, match="80000"):
        mel_power(np.zeros(80_001, np.float32), SETTINGS)


def test_settings_survive_a_round_trip() -> None:
    settings = FeatureSettings(n_mels=32, top_db=60.0)
    assert FeatureSettings.from_dict(settings.to_dict() | {"feature_size": 1}) == settings
