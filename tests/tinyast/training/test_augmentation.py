"""What augmentation may and may not do to a batch."""

from __future__ import annotations

import numpy as np
import pytest

from tinyast.arrays import Float
from tinyast.features.log_mel import FeatureSettings
from tinyast.training.augmentation import (
    add_background,
    add_noise,
    augment,
    blank,
    equalise,
    mix,
    narrow,
    reverberate,
    show,
    warp,
)
from tinyast.training.recipe import Recipe

SETTINGS = FeatureSettings()


@pytest.fixture
def power() -> Float:
    """Made-up mel power with what breaks arithmetic among it: silence, and very loud and faint."""
    power = np.random.default_rng(1).gamma(1, 1, (6, 64, 128)).astype(np.float32)
    power[1] = 0
    power[2] *= np.float32(1e-18)
    power[3] *= np.float32(1e12)
    power[4, :, 5:] = 0
    return power


def test_keeps_shapes_and_gives_finite_numbers(power: Float) -> None:
    targets = np.eye(6, dtype=np.float32)
    for seed in range(20):
        random = np.random.default_rng(seed)
        pictures, clear, covered, parts = augment(power, targets, Recipe(), SETTINGS, random)
        assert ((covered - clear) >= 0).all()
        assert pictures.shape == (6, 64, 64)
        assert pictures.dtype == np.float32
        assert np.isfinite(pictures).all()
        np.testing.assert_allclose(parts.sum(axis=1), 1, atol=1e-6)


def test_same_seed_same_batch(power: Float) -> None:
    targets = np.eye(6, dtype=np.float32)
    batches = [
        augment(power, targets, Recipe(), SETTINGS, np.random.default_rng(7)) for _ in range(2)
    ]
    np.testing.assert_array_equal(batches[0][0], batches[1][0])
    np.testing.assert_array_equal(batches[0][1], batches[1][1])


def test_nothing_asked_for_leaves_a_rolled_picture(power: Float) -> None:
    names = (
        "stretch",
        "mel_shift",
        "equaliser_db",
        "mix",
        "noise",
        "shift",
        "background",
        "narrow",
    )
    off = dict.fromkeys(names, 0.0)
    recipe = Recipe(masks=0, **off)  # type: ignore[arg-type]
    pictures, *_ = augment(
        power, np.eye(6, dtype=np.float32), recipe, SETTINGS, np.random.default_rng(0)
    )
    plain = show(power, SETTINGS)
    # Rolled by a part of a frame, each band keeps its mean nearly.
    np.testing.assert_allclose(pictures[0].mean(), plain[0].mean(), atol=1e-5)
    assert abs(np.corrcoef(pictures[4].mean(1), plain[4].mean(1))[0, 1]) > 0.9


def test_roll_and_shift_by_whole_cells_move_cells(power: Float) -> None:
    class Fixed(np.random.Generator):
        def uniform(self, low: float = 0.0, high: float = 1.0, size: object = None) -> object:  # type: ignore[override]
            return np.full(size, {0: 3.0, -1: 0.0}.get(low, 2.0))  # type: ignore[call-overload]

    moved = warp(power, 0.0, 4.0, 0.0, Fixed(np.random.PCG64(0)))
    np.testing.assert_allclose(moved[0, :62], np.roll(power[0], -3, axis=1)[2:], rtol=1e-5)


def test_a_shifted_clip_loses_what_leaves_it_and_is_followed_by_silence(power: Float) -> None:
    ones = np.ones((50, 64, 64), np.float32)
    moved = warp(ones, 0.0, 0.0, 1.0, np.random.default_rng(0))[:, 0]
    silent = moved < 1e-6
    assert silent.any(axis=1).mean() > 0.9
    assert silent.sum(axis=1).max() <= 32
    # Silence lies at one end, in one piece.
    assert (np.abs(np.diff(silent.astype(int), axis=1)).sum(axis=1) <= 1).all()
    assert silent[:, 0].any()
    assert silent[:, -1].any()
    assert (warp(ones, 0.0, 0.0, 0.0, np.random.default_rng(0)) > 0.99).all()


def test_background_lies_3_to_30_db_below_what_sounds(power: Float) -> None:
    loud = np.random.default_rng(2).gamma(1, 1, (40, 64, 64)).astype(np.float32)
    loud[:, :, 32:] = 0  # half of each clip is silence, which does not count
    added = add_background(loud, loud, 1.0, np.random.default_rng(0)) - loud
    below = 10 * np.log10(loud[:, :, :32].mean(axis=(1, 2)) / added.mean(axis=(1, 2)))
    assert below.min() >= 2.9
    assert below.max() <= 30.1
    assert below.max() - below.min() > 15
    np.testing.assert_array_equal(
        add_background(power, power, 0.0, np.random.default_rng(0)), power
    )


def test_narrowing_takes_from_the_ends_of_the_bands_alone() -> None:
    gains = narrow(np.ones((200, 64, 2), np.float32), 1.0, np.random.default_rng(0))[..., 0]
    assert (gains[:, 15:30] == 1).all()
    assert (gains <= 1).all()
    assert 0.3 < (gains < 0.5).any(axis=1).mean() < 1
    assert gains.min() >= 10**-8.01


def test_mixed_powers_add_and_labels_tell_amplitudes(power: Float) -> None:
    targets = np.eye(6, dtype=np.float32)
    mixed, parts = mix(power, targets, 1.0, np.random.default_rng(3))
    for index, part in enumerate(parts):
        other = int(np.flatnonzero(part)[np.flatnonzero(part) != index][0])
        expected = part[index] ** 2 * power[index] + part[other] ** 2 * power[other]
        np.testing.assert_allclose(mixed[index], expected, rtol=1e-5)


def test_equaliser_keeps_the_shape_of_a_band(power: Float) -> None:
    gain = equalise(power, 6.0, np.random.default_rng(0))[0] / power[0]
    np.testing.assert_allclose(gain, gain[:, :1].repeat(128, axis=1), rtol=1e-5)


def test_noise_only_adds(power: Float) -> None:
    assert (add_noise(power, 1.0, np.random.default_rng(0)) >= power).all()


def test_noise_is_red_to_blue() -> None:
    power = np.ones((400, 64, 64), np.float32) * np.float32(1e-12)
    power[:, 32, 32] = 1
    added = add_noise(power, 1.0, np.random.default_rng(0))[:, :, :32].mean(axis=2)
    tilts_db = 10 * np.log10(added[:, -1] / added[:, 0])
    assert tilts_db.min() < -10 < 20 < tilts_db.max()


def test_a_room_only_adds_and_fades_to_silence() -> None:
    power = np.zeros((200, 8, 500), np.float32)
    power[:, :, 100] = 1
    heard = reverberate(power, 1.0, 0.01, np.random.default_rng(0))
    np.testing.assert_array_equal(heard[:, :, :101], power[:, :, :101])
    tail = heard[:, 0, 101:].sum(axis=1)
    assert 10**-1.3 < tail.min() < tail.max() < 10**0.31
    assert (np.diff(heard[:, :, 101:], axis=2) <= 0).all()
    frames = (heard[:, 0, 101:] > heard[:, 0, 101, None] * 1e-6).sum(axis=1)
    assert 14 <= frames.min() < frames.max() <= 121  # down by 60 dB after 0.15 to 1.2 s
    untouched = reverberate(power, 0.0, 0.01, np.random.default_rng(0))
    np.testing.assert_array_equal(untouched, power)


def test_blanks_are_whole_stripes_of_the_mean(power: Float) -> None:
    ones = np.ones((50, 64, 64), np.float32)
    blanked = blank(ones, 2, 10, 12, np.random.default_rng(0))
    hidden = blanked == 0
    assert 0 < hidden.mean() < 0.6
    rows, columns = hidden.all(axis=2), hidden.all(axis=1)
    np.testing.assert_array_equal(hidden, rows[:, :, None] | columns[:, None, :])
    assert rows.sum(axis=1).max() <= 20
    assert columns.sum(axis=1).max() <= 24
