"""What augmentation may and may not do to a batch."""

from __future__ import annotations

import numpy as np
import pytest

from tinyast.augment import add_noise, augment, blank, equalise, mix, warp
from tinyast.features import FeatureSettings, Float, normalise
from tinyast.recipe import Recipe

SETTINGS = FeatureSettings()


@pytest.fixture
def power() -> Float:
    """Made-up mel power with what breaks arithmetic among it: silence, and very loud and faint."""
    power = np.random.default_rng(1).gamma(1, 1, (6, 64, 64)).astype(np.float32)
    power[1] = 0
    power[2] *= np.float32(1e-18)
    power[3] *= np.float32(1e12)
    power[4, :, 5:] = 0
    return power


def test_keeps_shapes_and_gives_finite_numbers(power: Float) -> None:
    targets = np.eye(6, dtype=np.float32)
    for seed in range(20):
        random = np.random.default_rng(seed)
        pictures, parts = augment(power, targets, Recipe(), SETTINGS, random)
        assert pictures.shape == power.shape
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
    off = {"stretch": 0.0, "mel_shift": 0.0, "equaliser_db": 0.0, "mix": 0.0, "noise": 0.0}
    recipe = Recipe(masks=0, **off)  # type: ignore[arg-type]
    pictures, _ = augment(
        power, np.eye(6, dtype=np.float32), recipe, SETTINGS, np.random.default_rng(0)
    )
    plain = normalise(power, SETTINGS)
    # Rolled by a part of a frame, each band keeps its mean nearly.
    np.testing.assert_allclose(pictures[0].mean(), plain[0].mean(), atol=1e-5)
    assert abs(np.corrcoef(pictures[4].mean(1), plain[4].mean(1))[0, 1]) > 0.9


def test_roll_and_shift_by_whole_cells_move_cells(power: Float) -> None:
    class Fixed(np.random.Generator):
        def uniform(self, low: float = 0.0, high: float = 1.0, size: object = None) -> object:  # type: ignore[override]
            return np.full(size, {0: 3.0, -1: 0.0}.get(low, 2.0))  # type: ignore[call-overload]

    moved = warp(power, 0.0, 4.0, Fixed(np.random.PCG64(0)))
    np.testing.assert_allclose(moved[0, :62], np.roll(power[0], -3, axis=1)[2:], rtol=1e-5)


def test_mixed_powers_add_and_labels_tell_amplitudes(power: Float) -> None:
    targets = np.eye(6, dtype=np.float32)
    mixed, parts = mix(power, targets, 1.0, np.random.default_rng(3))
    for index, part in enumerate(parts):
        other = int(np.flatnonzero(part)[np.flatnonzero(part) != index][0])
        expected = part[index] ** 2 * power[index] + part[other] ** 2 * power[other]
        np.testing.assert_allclose(mixed[index], expected, rtol=1e-5)


def test_equaliser_keeps_the_shape_of_a_band(power: Float) -> None:
    gain = equalise(power, 6.0, np.random.default_rng(0))[0] / power[0]
    np.testing.assert_allclose(gain, gain[:, :1].repeat(64, axis=1), rtol=1e-5)


def test_noise_only_adds(power: Float) -> None:
    assert (add_noise(power, 1.0, np.random.default_rng(0)) >= power).all()


def test_blanks_are_whole_stripes_of_the_mean(power: Float) -> None:
    ones = np.ones((50, 64, 64), np.float32)
    blanked = blank(ones, 2, 10, 12, np.random.default_rng(0))
    hidden = blanked == 0
    assert 0 < hidden.mean() < 0.6
    rows, columns = hidden.all(axis=2), hidden.all(axis=1)
    np.testing.assert_array_equal(hidden, rows[:, :, None] | columns[:, None, :])
    assert rows.sum(axis=1).max() <= 20
    assert columns.sum(axis=1).max() <= 24
