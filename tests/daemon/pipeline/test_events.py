"""One sound is one event."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import SettingsError
from daemon.protocol.events import Detection, Heard, Tracker
from daemon.settings.loading import load
from daemon.settings.schema import EventRule, Events

HOP, WINDOW = 2.5, 5.0


class Sounds:
    """Windows fed to a tracker one after the other."""

    def __init__(self, rules: Events | None = None) -> None:
        self.tracker = Tracker(rules or Events())
        self.number = 0

    def hear(
        self, label: str, score: float = 0.6, passed: bool = True
    ) -> tuple[bool, list[tuple[str, str]]]:
        confirmed, events = self.events(label, score, passed)
        return confirmed, [(event.state, event.label) for event in events]

    def events(
        self, label: str, score: float = 0.6, passed: bool = True
    ) -> tuple[bool, list[Detection]]:
        starts = self.number * HOP
        self.number += 1
        heeded = passed or label != "silence"
        return self.tracker.hear(Heard(label, score, passed, heeded, starts, starts + WINDOW))

    def quiet(self, windows: int = 1) -> list[tuple[str, str]]:
        ended = []
        for _ in range(windows):
            confirmed, events = self.hear("silence", 0.1, False)
            assert not confirmed
            ended += events
        return ended


def test_a_high_score_is_confirmed_at_once() -> None:
    assert Sounds().hear("dog", 0.85) == (True, [("start", "dog")])


def test_a_lower_one_by_the_second_of_three() -> None:
    sounds = Sounds()
    assert sounds.hear("dog", 0.84) == (False, [])
    assert sounds.hear("dog", 0.6) == (True, [("start", "dog")])
    sounds = Sounds()
    assert sounds.hear("dog") == (False, [])
    assert sounds.hear("cat") == (False, [])
    assert sounds.hear("dog") == (True, [("start", "dog")])
    sounds = Sounds()
    assert sounds.hear("dog") == (False, [])
    assert sounds.quiet(2) == []
    assert sounds.hear("dog") == (False, []), "the first is no longer among three"


def test_one_of_two_may_be_below_its_threshold_and_not_both() -> None:
    sounds = Sounds()
    assert sounds.hear("dog", 0.3, passed=False) == (False, [])
    assert sounds.hear("dog", 0.6) == (True, [("start", "dog")])
    sounds = Sounds()
    assert sounds.hear("dog", 0.6) == (False, [])
    assert sounds.hear("dog", 0.3, passed=False) == (False, [("start", "dog")])
    assert sounds.hear("dog", 0.3, passed=False) == (False, []), "it does not go on by these"
    sounds = Sounds()
    for _ in range(5):
        assert sounds.hear("dog", 0.3, passed=False) == (False, [])


def test_silence_and_denied_labels_confirm_nothing() -> None:
    sounds = Sounds()
    assert sounds.hear("silence", 0.9, passed=False) == (False, [])
    assert sounds.hear("silence", 0.6) == (False, [])


def test_what_has_ended_is_not_begun_again_by_its_own_windows() -> None:
    sounds = Sounds(Events(end_after=1.0))
    assert sounds.hear("dog", 0.9) == (True, [("start", "dog")])
    assert sounds.hear("dog", 0.3, passed=False) == (False, [("end", "dog")])
    assert sounds.hear("dog", 0.3, passed=False) == (False, [])
    assert sounds.hear("dog", 0.6) == (True, [("start", "dog")])


def test_an_event_tells_when_it_began_how_well_it_was_heard_and_how_long() -> None:
    sounds = Sounds()
    sounds.events("dog", 0.6)
    sounds.quiet()
    _, (start,) = sounds.events("dog", 0.7)
    assert (start.started, start.heard, start.windows, start.peak) == (0.0, 10.0, 2, 0.7)
    _, (update,) = sounds.events("dog", 0.65)
    assert (update.state, update.id) == ("update", start.id)
    assert (update.started, update.heard, update.windows, update.peak) == (0.0, 12.5, 3, 0.7)
    sounds.quiet(3)
    _, (end,) = sounds.events("silence", 0.1, False)
    assert (end.state, end.id, end.reason) == ("end", start.id, "quiet")
    assert (end.started, end.heard, end.windows, end.peak) == (0.0, 12.5, 3, 0.7)


def test_it_ends_after_ten_seconds_and_not_before() -> None:
    sounds = Sounds()
    sounds.hear("dog", 0.9)
    assert sounds.quiet(3) == []  # heard until 5 s; these end at 7.5, 10 and 12.5 s
    assert sounds.quiet() == [("end", "dog")]
    assert sounds.hear("dog", 0.9)[1] == [("start", "dog")]


def test_heard_again_in_time_it_is_the_same() -> None:
    sounds = Sounds()
    sounds.hear("dog", 0.9)
    sounds.quiet(3)
    assert sounds.hear("dog", 0.6) == (True, [("update", "dog")])


def test_two_sounds_at_once_are_two_events() -> None:
    sounds = Sounds()
    assert sounds.hear("dog", 0.9)[1] == [("start", "dog")]
    assert sounds.hear("rain", 0.9)[1] == [("start", "rain")]
    assert sounds.hear("dog", 0.6)[1] == [("update", "dog")]
    assert sounds.hear("rain", 0.6)[1] == [("update", "rain")]
    assert sounds.quiet(5) == [("end", "dog"), ("end", "rain")]


def test_a_label_can_have_rules_of_its_own() -> None:
    rules = Events(
        labels={
            "dog": EventRule(confirm_at=0.3),
            "rain": EventRule(confirm_count=4, confirm_of=5, end_after=30.0),
        }
    )
    sounds = Sounds(rules)
    assert sounds.hear("dog", 0.3)[0] is True
    assert [sounds.hear("rain", 0.6)[0] for _ in range(4)] == [False, False, False, True]
    assert sounds.quiet(11) == []
    assert sounds.quiet(1) == [("end", "rain")]
    assert [sounds.hear("cat")[0] for _ in range(2)] == [False, True]


def test_end_all() -> None:
    sounds = Sounds()
    sounds.hear("dog", 0.9)
    sounds.hear("rain", 0.9)
    sounds.hear("cat", 0.6)
    ended = sounds.tracker.end_all("source_lost")
    assert [(e.state, e.label, e.reason) for e in ended] == [
        ("end", "dog", "source_lost"),
        ("end", "rain", "source_lost"),
    ]
    assert sounds.tracker.end_all("stopped") == []
    assert sounds.hear("cat") == (False, []), "what was heard before a loss confirms nothing"


heard = st.tuples(
    st.sampled_from(["dog", "cat", "rain"]), st.floats(0, 1), st.booleans(), st.booleans()
)


@given(st.lists(heard, max_size=60))
def test_every_event_starts_once_and_ends_once(
    windows: list[tuple[str, float, bool, bool]],
) -> None:
    sounds = Sounds()
    told: list[Detection] = []
    for label, score, passed, lost in windows:
        confirmed, events = sounds.events(label, score, passed)
        told += events
        begun = any(e.state != "end" and e.label == label for e in events)
        assert confirmed == (passed and begun)
        if lost:
            told += sounds.tracker.end_all("source_lost")
    told += sounds.tracker.end_all("stopped")
    going: dict[str, Detection] = {}  # by label: never two of one label at once
    for event in told:
        if event.state == "start":
            assert event.label not in going
            going[event.label] = event
        else:
            assert going[event.label].id == event.id
            assert event.peak >= going[event.label].peak
            assert event.started == going[event.label].started
            going[event.label] = event
        if event.state == "end":
            del going[event.label]
    assert not going
    assert len({e.id for e in told}) == len([e for e in told if e.state == "start"])


def test_the_environment_can_set_them() -> None:
    environ = {"TINYAST_EVENTS__CONFIRM_AT": "0.7", "TINYAST_EVENTS__END_AFTER": "20"}
    events = load(environ=environ).events
    assert (events.confirm_at, events.end_after) == (0.7, 20.0)
    with pytest.raises(SettingsError, match=r"events\.confirm_at"):
        load(environ={"TINYAST_EVENTS__CONFIRM_AT": "1.5"})
