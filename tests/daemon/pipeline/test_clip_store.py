"""Kept audio: exact, and bounded by size and age."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile

from daemon.pipeline.clip_store import ClipStore
from daemon.settings.schema import Microphone

RATE = 44_100
START = datetime(2026, 3, 1, 23, 59, 58, 250_000, UTC).timestamp()


def window(seed: int = 0, seconds: float = 1.0) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    whole = np.random.default_rng(seed).integers(-32768, 32768, round(seconds * RATE))
    whole[:2] = (-32768, 32767)
    return (whole / 32768).astype(np.float32)


def kept(store: ClipStore) -> list[Path]:
    return sorted(store.folder.rglob("*.flac"))


def test_16_bit_sound_is_kept_to_the_bit(tmp_path: Path) -> None:
    samples = window()
    path = ClipStore(tmp_path, Microphone(keep="all")).save(samples, RATE, START, "dog")
    assert path is not None
    back, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    np.testing.assert_array_equal(back, samples)
    assert soundfile.info(path).subtype == "PCM_24"


def test_float_sound_is_kept_to_24_bits_and_clipped_beyond(tmp_path: Path) -> None:
    samples = np.array([0.1, -0.3333333, 1e-9, 1.5, -1.5, 1.0, -1.0], np.float32)
    path = ClipStore(tmp_path, Microphone(keep="all")).save(samples, RATE, START, "dog")
    assert path is not None
    back, _ = soundfile.read(path, dtype="float64")
    assert np.abs(back - np.clip(samples, -1, 1 - 2**-23)).max() <= 2**-24


def test_a_name_tells_when_and_what(tmp_path: Path) -> None:
    store = ClipStore(tmp_path, Microphone(name="garden", keep="all"))
    path = store.save(window(), RATE, START, "dog")
    assert path == str(tmp_path / "audio/garden/20260301/20260301_235958_250_dog.flac")
    odd = ClipStore(tmp_path, Microphone(name="../../up", keep="all"))
    path = odd.save(window(), RATE, START, "a/b .. c")
    assert path is not None
    assert Path(path).resolve().is_relative_to((tmp_path / "audio").resolve())
    assert Path(path).exists()


def test_what_is_kept(tmp_path: Path) -> None:
    assert [
        ClipStore(tmp_path, Microphone(keep=keep)).wants(accepted)
        for keep in ("none", "accepted", "all")
        for accepted in (False, True)
    ] == [False, False, False, True, True, True]


def test_bounded_by_size(tmp_path: Path) -> None:
    size = 0
    store = ClipStore(tmp_path, Microphone(keep="all", keep_mb=1.0))
    for number in range(40):
        path = store.save(window(number), RATE, START + 3600 * number, "dog")
        assert path is not None
        size = Path(path).stat().st_size
        assert sum(p.stat().st_size for p in kept(store)) <= 1_000_000
        assert Path(path) in kept(store), "the newest went first"
    left = kept(store)
    assert len(left) >= 0.9 * 1_000_000 / size - 1
    assert left[-1].name.startswith(time.strftime("%Y%m%d", time.gmtime(START + 39 * 3600)))
    assert all(any(day.iterdir()) for day in store.folder.iterdir()), "empty days are left"


def test_what_an_earlier_run_left_counts(tmp_path: Path) -> None:
    settings = Microphone(keep="all", keep_mb=1.0)
    first = ClipStore(tmp_path, settings)
    for number in range(6):
        first.save(window(number), RATE, START + number, "dog")
    (first.folder / "20260301" / "unfinished.flac.part").write_bytes(b"x" * 900_000)
    second = ClipStore(tmp_path, settings)
    for number in range(6, 9):
        second.save(window(number), RATE, START + number, "dog")
    assert sum(p.stat().st_size for p in second.folder.rglob("*.*")) <= 1_000_000


def test_bounded_by_age(tmp_path: Path) -> None:
    store = ClipStore(tmp_path, Microphone(keep="all", keep_days=2.0))
    paths = [store.save(window(n, 0.1), RATE, START + n, "dog") for n in range(3)]
    assert all(paths)
    for path in paths[:2]:
        old = time.time() - 3 * 86_400
        os.utime(str(path), (old, old))
    again = ClipStore(tmp_path, Microphone(keep="all", keep_days=2.0))
    newest = again.save(window(3, 0.1), RATE, START + 3, "dog")
    assert [str(p) for p in kept(again)] == [paths[2], newest]


def test_a_disk_that_takes_nothing_is_no_end(tmp_path: Path) -> None:
    (tmp_path / "audio").write_text("in the way")
    store = ClipStore(tmp_path, Microphone(keep="all"))
    assert store.save(window(), RATE, START, "dog") is None
    (tmp_path / "audio").unlink()
    assert store.save(window(), RATE, START, "dog") is not None


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000, 96_000, 192_000, 384_000])
def test_every_rate(tmp_path: Path, rate: int) -> None:
    path = ClipStore(tmp_path, Microphone(keep="all")).save(window(), rate, START, "dog")
    assert path is not None
    assert soundfile.info(path).samplerate == rate
