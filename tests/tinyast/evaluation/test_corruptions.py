"""Each way of changing sound does what its name says, to real clips and to silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinyast.arrays import Float
from tinyast.audio.decoding import read_file
from tinyast.evaluation.corruptions import points_lost, ways


@pytest.fixture(scope="module")
def clips(esc50: Path) -> list[Float]:
    return [read_file(path)[0] for path in sorted((esc50 / "audio").glob("4-*.flac"))[::50]]


def level_db(samples: Float) -> float:
    return 10 * float(np.log10(np.square(samples, dtype=np.float64).mean()))


def test_every_way_gives_sound_of_the_same_length(clips: list[Float]) -> None:
    for name, way in ways(clips).items():
        for samples in (clips[0], np.zeros(80_000, np.float32)):
            changed, rate = way(samples.copy(), np.random.default_rng(0))
            assert changed.dtype == np.float32, name
            assert np.isfinite(changed).all(), name
            assert len(changed) / rate == pytest.approx(5.0, abs=0.01), name


def test_same_seed_same_sound(clips: list[Float]) -> None:
    for name, way in ways(clips).items():
        one, two = (way(clips[1], np.random.default_rng(3))[0] for _ in range(2))
        np.testing.assert_array_equal(one, two, err_msg=name)


def test_levels_and_ratios_are_what_they_say(clips: list[Float]) -> None:
    steady = (0.1 * np.sin(np.arange(80_000) * 0.3)).astype(np.float32)
    made = ways(clips)
    for name, change in (("level -30 dB, as 16-bit PCM", -30), ("level +12 dB", 12)):
        changed, _ = made[name](steady, np.random.default_rng(0))
        assert level_db(changed) - level_db(steady) == pytest.approx(change, abs=0.1)
    for kind in ("white", "recorded"):
        for ratio in (20, 10):
            way = made[f"{kind} noise, {ratio} dB SNR"]
            changed, _ = way(steady, np.random.default_rng(0))
            assert level_db(steady) - level_db(changed - steady) == pytest.approx(ratio, abs=0.1)


def test_a_shift_moves_sound_and_loses_some_or_none() -> None:
    made = ways([])
    samples = np.arange(1, 80_001, dtype=np.float32)
    directions = set()
    for seed in range(20):
        rolled, _ = made["shifted by up to 2.5 s, nothing lost"](
            samples, np.random.default_rng(seed)
        )
        shifted, _ = made["shifted by up to 2.5 s, zeros follow"](
            samples, np.random.default_rng(seed)
        )
        assert set(rolled) == set(samples)
        kept = shifted != 0
        np.testing.assert_array_equal(shifted[kept], rolled[kept])
        assert kept.sum() >= 40_000
        directions.add(bool(kept[0]))
    assert directions == {True, False}


def test_points_lost_are_paired() -> None:
    clean = np.array([True] * 80 + [False] * 20)
    changed = clean.copy()
    changed[:10], changed[90:95] = False, True
    lost, half = points_lost(clean, changed)
    assert lost == pytest.approx(5)
    # Ten clips lost and five won: the variance of +1, -1 and 0 with those counts.
    assert half == pytest.approx(196 * np.sqrt((0.15 - 0.05**2) * 100 / 99 / 100))
