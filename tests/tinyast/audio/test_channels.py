"""One channel out of several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sounds import noise, wav_bytes

from tinyast.audio import channels
from tinyast.audio.channels import Channel, LiveChannel, read_one_channel, select
from tinyast.audio.decoding import read_file
from tinyast.errors import AudioError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three channels: a loud offset, quiet noise, and loud noise in the second half alone."""
    frames = np.stack([noise(1, seed=seed, level=0.01) for seed in range(3)], axis=1)
    frames[:, 0] += 0.5
    frames[8_000:, 2] *= 20
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(frames, subtype="FLOAT"))
    return path


@pytest.mark.parametrize("block", [1 << 20, 900])
def test_each_setting_gives_its_channel(
    path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "BLOCK", block)
    parts = [read_file(path, channel=number)[0] for number in (1, 2, 3)]
    assert parts[0].mean() == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(read_file(path)[0], np.mean(parts, axis=0), atol=1e-7)
    np.testing.assert_array_equal(read_file(path, channel="loudest")[0], parts[2])


@pytest.mark.parametrize("block", [1 << 20, 900])
def test_channels_that_cancel_are_heard_in_the_loudest(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under either setting, with offsets, and block by block as at once."""
    monkeypatch.setattr(channels, "BLOCK", block)
    sound = noise(1)
    frames = np.stack([sound, -1.05 * sound], axis=1) + np.array([0.5, -0.2], np.float32)
    for channel in ("mix", "loudest"):
        chosen = read_one_channel(lambda a, b: frames[a:b], 0, len(frames), 2, channel)
        np.testing.assert_array_equal(chosen, frames[:, 1])


@pytest.mark.parametrize(
    ("mixing", "is_mixed"),
    [
        ([[1, 0], [0, 1]], True),  # unrelated channels
        ([[1, 0], [1, 0]], True),  # the same twice
        ([[1, 0], [0, 0]], True),  # one live channel
        ([[0, 0], [0, 0]], True),  # silence
        ([[1, 0], [-0.5, 0]], True),  # 10 dB under the mean power
        ([[1, 0], [-0.7, 0]], False),  # 15 dB
        ([[1, 0.1], [-0.95, 0.1]], False),  # with a common part 20 dB under the rest
        ([[1, 0.5], [-1, 0.5]], True),
        ([[1, 0]] + 63 * [[0, 0]], True),  # 18 dB, but of the many silent ones
        ([[1, 0], [0, 1]] * 32, True),
        ([[1, 0], [-1, 0]] * 32, False),
    ],
)
def test_the_mix_is_the_mean_to_the_bit_unless_channels_cancel(
    mixing: list[list[float]], is_mixed: bool
) -> None:
    sources = np.stack([noise(0.5, seed=1), noise(0.5, seed=2)])
    frames = np.ascontiguousarray((np.array(mixing) @ sources).T.astype(np.float32))
    chosen = select(frames, "mix")
    wanted = frames.mean(axis=1, dtype=np.float32) if is_mixed else frames[:, 0]
    np.testing.assert_array_equal(chosen, wanted)
    live = LiveChannel("mix", len(mixing), 16_000)
    heard = np.concatenate([live(block) for block in np.split(frames, 5)])
    np.testing.assert_array_equal(heard, wanted)


def test_a_live_mix_gives_way_while_its_channels_cancel() -> None:
    live = LiveChannel("mix", 2, 16_000)

    for seed in range(20):
        sound = noise(0.1, seed=seed)
        np.testing.assert_array_equal(live(np.stack([sound, sound], axis=1)), sound)
    heard = [live(np.stack([noise(0.1, seed=7), -noise(0.1, seed=7)], axis=1)) for _ in range(40)]
    silent = [not each.any() for each in heard]
    assert silent == sorted(silent, reverse=True)  # the mean of old and new, then one channel
    assert silent.count(True) < 30
    assert not silent[-1]


def test_a_block_that_is_not_finite_leaves_the_choice_as_it_is() -> None:
    sound = noise(0.1)
    frames = np.stack([sound, -sound], axis=1)
    live = LiveChannel("mix", 2, 16_000)
    np.testing.assert_array_equal(live(frames), sound)
    bad = frames.copy()
    bad[3, 1], bad[5, 0] = np.nan, np.inf
    live(bad)
    np.testing.assert_array_equal(live(frames), sound)


@pytest.mark.parametrize("channel", [0, 4])
def test_a_channel_that_is_not_there_is_an_error(path: Path, channel: Channel) -> None:
    with pytest.raises(AudioError, match="there is no channel") as caught:
        read_file(path, channel=channel)
    assert caught.value.code == "bad_channels"


def test_a_live_stream_keeps_to_its_loudest_channel_until_another_is_clearly_louder() -> None:
    rate = 16_000
    select_live = LiveChannel("loudest", 2, rate)

    def heard(left: float, right: float, seed: int) -> int:
        """Which of two channels with these levels the next tenth of a second comes from."""
        frames = np.stack(
            [noise(0.1, rate, seed, left), noise(0.1, rate, seed + 99, right)], axis=1
        )
        chosen = select_live(frames + np.array([0.5, 0], np.float32))
        return int(np.allclose(chosen, frames[:, 1]))

    assert {heard(0.1, 0.11, seed) for seed in range(20)} == {0}
    assert [heard(0.01, 0.1, seed) for seed in range(20)][-1] == 1
    assert {heard(0.1, 0.1, seed) for seed in range(20)} == {1}


def test_a_live_stream_without_that_channel_is_an_error() -> None:
    with pytest.raises(AudioError, match="no channel 3"):
        LiveChannel(3, 2, 16_000)
    assert len(LiveChannel(2, 2, 16_000)(np.zeros((5, 2), np.float32))) == 5
