"""Time stamps and losses of a stream, simulated over a year: every fault is known exactly."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from running import STRESS

from daemon.host.clock import clock
from daemon.sources.microphone.stream_clock import BUCKET_BLOCKS, BUCKET_S, Loss, StreamClock

YEAR_S = 365 * 86_400.0
RATE = 48_000


@dataclass
class SoundCard:
    """A device whose clock is off by `ppm`, and a machine that hears of its blocks late.

    Blocks arrive as late as a busy machine makes them: a few ms mostly, 100 ms now and then, and
    a second at times, after which those that waited come at once.
    """

    ppm: float
    block: int = RATE // 2  # frames
    began: float = 1e6  # s of the clock
    seed: int = 0
    captured: int = 0  # frames, with those that are lost
    told: float = 0.0  # when the last block arrived
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def at(self, frame: int) -> float:
        """When a frame was captured, in truth."""
        return self.began + frame / (RATE * (1 + self.ppm * 1e-6))

    def next(self) -> float:
        """Capture a block: when it arrives."""
        self.captured += self.block
        draw = self.random.random()
        late = 0.004 * draw if draw < 0.9 else 0.1 * draw if draw < 0.999 else 1.5
        self.told = max(self.told, self.at(self.captured) + late)
        return self.told

    def blocks(self, seconds: float) -> Iterator[float]:
        until = self.captured + seconds * RATE
        while self.captured < until:
            yield self.next()


@pytest.mark.parametrize("ppm", [-50, 50])
def test_a_year_stays_within_50_ms(ppm: float) -> None:
    card, stream = SoundCard(ppm), StreamClock(RATE)
    share = YEAR_S * min(1.0, STRESS**1.8)  # days at least
    worst = 0.0
    size = None
    for at in card.blocks(share):
        assert stream.block(at, card.block) is None, "a loss where there was none"
        # Each window: when its first sample was captured, 5 s ago.
        first = card.captured - 5 * RATE
        if first >= 0:
            worst = max(worst, abs(stream.when(first) - card.at(first)))
        size = size or len(vars(stream))
    print(f"{share / 86_400:.1f} days at {ppm:+} ppm: at most {1000 * worst:.2f} ms off")
    assert worst < 0.05
    assert stream.frames == card.captured
    assert len(vars(stream)) == size
    assert all(isinstance(value, int | float | None) for value in vars(stream).values())


@pytest.mark.parametrize("ppm", [-50, 50])
def test_the_last_hour_of_ten_years(ppm: float) -> None:
    card, stream = SoundCard(ppm), StreamClock(RATE)
    card.captured = round(10 * YEAR_S * RATE)
    assert card.captured > 2**32
    stream.missed(card.captured)
    for at in card.blocks(3600):
        assert stream.block(at, card.block) is None
        assert abs(stream.when(card.captured) - card.at(card.captured)) < 0.05
    assert stream.frames == card.captured


@pytest.mark.parametrize("block", [381, 1024, 4096, RATE // 2])
@pytest.mark.parametrize("lost_s", [0.06, 0.1, 1.0, 21.2, 86_400.0])
def test_losses_are_found_and_sized(block: int, lost_s: float) -> None:
    card, stream = SoundCard(30, block), StreamClock(RATE)
    lost = round(lost_s * RATE)
    for _ in range(3):
        for at in card.blocks(20):
            assert stream.block(at, block) is None
        before = stream.frames
        card.captured += lost
        broke = card.at(card.captured)
        found: list[tuple[float, Loss]] = []
        for at in card.blocks(20):
            if (loss := stream.block(at, block)) is not None:
                found.append((at, loss))
        # One loss, or two parts of it if it fell into a time of late blocks.
        assert 1 <= len(found) <= 2
        near = 0.02 * RATE + 50e-6 * lost  # the speed of the device's clock meanwhile is unknown
        assert abs(sum(loss.frames for _, loss in found) - lost) < near
        # It is placed correctly, but for blocks that came late.
        at, first = found[0]
        assert before - 1.6 * RATE <= first.after <= before
        bucket = max(BUCKET_S, BUCKET_BLOCKS * block / RATE)
        assert at - broke < 3 * bucket + 2
        assert abs(stream.when(stream.frames) - card.at(card.captured)) < 0.05


@pytest.mark.parametrize("lost_s", [0.015, 0.02, 0.04])
def test_smaller_losses_are_found_where_an_overflow_is_flagged(lost_s: float) -> None:
    card, stream = SoundCard(0, 1024), StreamClock(RATE)
    lost = round(lost_s * RATE)
    found = 0
    for _ in range(20):
        for at in card.blocks(7.3):
            assert stream.block(at, 1024) is None
        card.captured += lost
        overflow, losses = True, []
        for at in card.blocks(7.3):
            losses.append(stream.block(at, 1024, overflow))
            overflow = False
        (loss,) = [one for one in losses if one is not None]
        assert abs(loss.frames - lost) < 0.005 * RATE
        found += 1
    assert found == 20


def test_a_flag_without_a_loss_is_no_loss() -> None:
    card, stream = SoundCard(-50, 1024), StreamClock(RATE)
    for number, at in enumerate(card.blocks(600)):
        assert stream.block(at, 1024, overflow=number % 50 == 0) is None


def test_small_losses_without_a_flag_are_told_once_they_add_up() -> None:
    card, stream = SoundCard(0, 1024), StreamClock(RATE)
    told = lost = 0
    for _ in range(10):
        for at in card.blocks(5):
            loss = stream.block(at, 1024)
            told += 0 if loss is None else loss.frames
        card.captured += round(0.03 * RATE)
        lost += round(0.03 * RATE)
    assert told > 0.4 * lost
    assert abs(stream.when(stream.frames) - card.at(card.captured)) < 0.15


def test_a_machine_that_is_very_busy_for_seconds_loses_nothing() -> None:
    card, stream = SoundCard(20, 1024), StreamClock(RATE)
    for number, at in enumerate(card.blocks(600)):
        busy = 0.08 if number % 700 < 120 else 0.0  # every block late, for 2.6 s
        assert stream.block(at + busy, 1024) is None
        assert number < 1000 or abs(stream.when(card.captured) - card.at(card.captured)) < 0.05


def test_frames_known_to_be_missed_are_not_told_again() -> None:
    card, stream = SoundCard(0, 1024), StreamClock(RATE)
    for at in card.blocks(10):
        assert stream.block(at, 1024) is None
    card.captured += 3 * RATE
    stream.missed(3 * RATE)
    for at in card.blocks(10):
        assert stream.block(at, 1024) is None
    assert stream.frames == card.captured


def test_the_clock_goes_on() -> None:
    first = clock()
    assert clock() >= first
