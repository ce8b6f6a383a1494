"""The fitted resampler: its pass band, its stop band, and its distance from soxr's HQ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soxr

from tinyast import Classifier
from tinyast.arrays import Float
from tinyast.audio.decoding import read_file
from tinyast.audio.resampling import FITTED, PASS, STOP, STOP_DB, Polyphase, fitted, resample
from tinyast.features.log_mel import FeatureSettings, log_mel, mel_power
from tinyast.inference.engine import softmax

TARGET = 16_000


def tone(hz: float, rate: int) -> Float:
    return np.sin(2 * np.pi * hz * np.arange(rate) / rate).astype(np.float32)


def level(samples: Float) -> float:
    """In dB relative to a tone of amplitude 1, away from the edges."""
    middle = samples[1_000:-1_000].astype(np.float64)
    return float(10 * np.log10(2 * np.mean(middle**2) + 1e-30))


@pytest.mark.parametrize("rate", FITTED)
@pytest.mark.parametrize("hz", [20, 440, 3_000, 6_000, PASS * TARGET / 2])
def test_what_the_model_hears_is_passed_as_it_is(rate: int, hz: float) -> None:
    heard = resample(tone(hz, rate), rate, TARGET)
    expected = tone(hz, TARGET)
    np.testing.assert_allclose(heard[1_000:-1_000], expected[1_000:-1_000], atol=1e-3)


@pytest.mark.parametrize("rate", FITTED)
@pytest.mark.parametrize("hz", [STOP * TARGET / 2, 8_600, 10_000, 12_345, 16_000, 18_000, 21_500])
def test_what_would_fold_back_is_stopped(rate: int, hz: float) -> None:
    assert level(resample(tone(hz, rate), rate, TARGET)) < -STOP_DB


@pytest.mark.parametrize("rate", FITTED)
def test_what_folds_back_from_the_slope_stays_in_the_highest_bands(rate: int) -> None:
    def bands(hz: float) -> Float:
        heard = resample(tone(hz, rate), rate, TARGET)
        return np.asarray(mel_power(heard, FeatureSettings())[:, 3:10].mean(axis=1))

    below = bands(6_000).max()
    for hz in np.linspace(8_020, STOP * TARGET / 2, 12):
        assert bands(hz)[:-2].max() < 10 ** (-STOP_DB / 10) * 2 * below


@pytest.mark.parametrize("rate", FITTED)
def test_it_is_the_filter_that_it_claims_to_be(rate: int) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, rate // 10).astype(np.float32)
    by_soxr = soxr.resample(samples, rate, TARGET, quality="HQ")
    heard = resample(samples, rate, TARGET)
    assert len(heard) == TARGET // 10
    # White noise has as much power in the slope between the edges, and they differ there.
    error = np.sqrt(np.mean((heard - by_soxr[: len(heard)]) ** 2))
    assert error < 0.08 * np.sqrt(np.mean(by_soxr**2))


@pytest.mark.parametrize("rate", FITTED)
@pytest.mark.parametrize("count", [2, 3, 100, 441, 480, 8_123, 220_499])
def test_any_length_gives_as_many_samples_as_it_lasts(rate: int, count: int) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, count).astype(np.float32)
    heard = resample(samples, rate, TARGET)
    assert heard.shape == (round(count * TARGET / rate),)
    assert heard.dtype == np.float32
    padded = np.concatenate([samples, np.zeros(2_000, np.float32)])
    np.testing.assert_allclose(heard, resample(padded, rate, TARGET)[: len(heard)], atol=1e-6)


@pytest.mark.parametrize("rate", FITTED)
def test_every_sample_of_the_input_counts_once(rate: int) -> None:
    """An impulse anywhere gives the same pulse there, whichever matrix it falls to."""
    gains = []
    for at in range(2_000, 2_000 + 960, 37):
        impulse = np.zeros(6_000, np.float32)
        impulse[at] = 1
        gains.append(resample(impulse, rate, TARGET).sum() * rate / TARGET)
    np.testing.assert_allclose(gains, 1, atol=2e-3)


def test_scores_are_those_after_soxr(originals: list[Path]) -> None:
    classifier = Classifier.load()
    settings = classifier.checkpoint.features

    def scores(heard: Float) -> Float:
        picture = log_mel(heard[: settings.n_samples].astype(np.float32), settings)
        found: Float = softmax(classifier.engine.logits(picture[None]))[0]
        return found

    for path in originals:
        samples, rate = read_file(path)
        expected = scores(soxr.resample(samples, rate, settings.sampling_rate, quality="HQ"))
        got = scores(resample(samples, rate, settings.sampling_rate))
        assert got.argmax() == expected.argmax()
        np.testing.assert_allclose(got, expected, atol=0.02)


def test_one_is_made_for_each_pair_of_rates_and_kept() -> None:
    assert fitted(44_100, 16_000) is fitted(44_100, 16_000)
    assert isinstance(fitted(48_000, 16_000), Polyphase)
    kept = sum(matrix.nbytes for rate in FITTED for matrix in fitted(rate, 16_000).matrices)
    assert kept < 1e6
