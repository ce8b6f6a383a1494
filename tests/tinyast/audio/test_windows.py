"""Where recordings are cut: what holds for every length, rate, window and hop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyast.audio.windows import Window, WindowPlan

plans = st.builds(
    WindowPlan,
    frames=st.integers(0, 400_000),
    rate=st.sampled_from([4_000, 8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 384_000]),
    window_s=st.sampled_from([0.5, 1.0, 5.0, 5.0, 7.0]),
    hop_s=st.one_of(st.sampled_from([2.5, 5.0]), st.floats(0.05, 9)),
)


@given(plans)
def test_the_length_is_the_number_of_windows(plan: WindowPlan) -> None:
    windows = list(plan)
    assert len(windows) == len(plan)
    assert [window.index for window in windows] == list(range(len(plan)))
    assert windows == [plan[index] for index in range(len(plan))]


@given(plans)
def test_no_window_reaches_beyond_the_end(plan: WindowPlan) -> None:
    for window in plan:
        assert 0 <= window.start < window.end <= plan.frames


@given(plans)
def test_every_window_is_whole_or_says_what_it_lacks(plan: WindowPlan) -> None:
    for window in plan:
        assert window.end - window.start + window.padded == plan.size
        assert (window.padded > 0) == (plan.frames < plan.size)


@given(plans)
def test_windows_begin_on_the_grid_but_for_the_last(plan: WindowPlan) -> None:
    for window in list(plan)[:-1]:
        assert window.start == round(window.index * plan.hop_s * plan.rate)


@given(plans)
def test_the_last_window_ends_with_the_recording_or_just_before(plan: WindowPlan) -> None:
    if plan.frames == 0:
        assert len(plan) == 0
    elif plan.frames < plan.size or plan.hop_s <= plan.window_s:
        assert 0 <= plan.frames - plan[len(plan) - 1].end < max(1, 0.1 * plan.hop_s * plan.rate)


@given(plans.filter(lambda plan: plan.hop_s <= plan.window_s and plan.frames > 0))
def test_windows_that_overlap_or_touch_leave_out_less_than_a_tenth_of_a_hop_at_the_end(
    plan: WindowPlan,
) -> None:
    covered = 0
    for window in plan:
        assert window.start <= covered
        covered = window.end
    assert plan.frames - covered < max(1, 0.1 * plan.hop_s * plan.rate)


@given(plans)
def test_windows_move_forward(plan: WindowPlan) -> None:
    starts = [window.start for window in plan]
    assert starts == sorted(set(starts))


@given(st.integers(10**12, 10**15), st.sampled_from([16_000, 44_100]))
def test_a_very_long_recording_is_planned_without_walking_it(frames: int, rate: int) -> None:
    plan = WindowPlan(frames, rate)  # the example would not end if it were
    last = plan[len(plan) - 1]
    assert frames - plan.size // 10 <= last.end <= frames
    assert len(plan) == -(-(frames - plan.size // 10 + 1) // plan.size)


@pytest.mark.parametrize(
    ("seconds", "starts"),
    [
        (0.5, [0]),
        (5, [0]),
        (5.02, [0]),  # a segment of ffmpeg's, which ends with the frame that is over
        (5.49, [0]),
        (5.5, [0, 0.5]),
        (10.3, [0, 5]),
        (10, [0, 5]),
        (12, [0, 5, 7]),
    ],
)
def test_five_seconds_follow_five_seconds_and_the_last_is_anchored(
    seconds: float, starts: list[float]
) -> None:
    plan = WindowPlan(round(seconds * 16_000), 16_000)
    assert [window.start_s for window in plan] == starts


def test_a_short_recording_says_how_much_was_padded() -> None:
    (window,) = WindowPlan(32_000, 16_000)
    assert window == Window(0, 0, 32_000, 16_000, padded=48_000)
    assert (window.end_s, window.padded_s) == (2, 3)


def test_half_frames_are_rounded_not_added_up() -> None:
    plan = WindowPlan(10**7, 11_025, 5.0, 2.5)  # 27562.5 frames
    assert [plan[i].start for i in range(4)] == [0, 27_562, 55_125, 82_688]


@pytest.mark.parametrize(
    "wrong", [{"frames": -1}, {"rate": 0}, {"window_s": 0.0}, {"hop_s": 0.0}, {"hop_s": -1.0}]
)
def test_nonsense_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"not a plan|hop_s is"):
        WindowPlan(**{"frames": 100, "rate": 16_000, **wrong})


@pytest.mark.parametrize("index", [-1, 3])
def test_there_is_no_window_beyond_the_plan(index: int) -> None:
    with pytest.raises(IndexError):
        WindowPlan(12 * 16_000, 16_000)[index]
