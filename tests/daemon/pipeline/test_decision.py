"""Which predictions are accepted, and the reason given for the others."""

from __future__ import annotations

import pytest

from daemon.errors import SettingsError
from daemon.pipeline.decision import Verdict, check_labels, decide, tuned_for_another
from daemon.settings.schema import Decision, EventRule, Events, Settings

LOUD = -20.0


def test_a_score_at_the_threshold_is_accepted() -> None:
    assert decide("dog", 0.75, LOUD, False, Decision()) == Verdict(True, 0.75, None)


def test_a_score_below_it_is_not() -> None:
    assert decide("dog", 0.7499, LOUD, False, Decision()) == Verdict(False, 0.75, "below_threshold")


def test_a_label_may_have_a_threshold_of_its_own() -> None:
    rules = Decision(thresholds={"dog": 0.9, "cat": 0.1})
    assert decide("dog", 0.8, LOUD, False, rules) == Verdict(False, 0.9, "below_threshold")
    assert decide("cat", 0.2, LOUD, False, rules) == Verdict(True, 0.1, None)
    assert decide("hen", 0.75, LOUD, False, rules) == Verdict(True, 0.75, None)


def test_a_denied_label_is_rejected_whatever_its_score() -> None:
    assert decide("dog", 1.0, LOUD, False, Decision(deny=("dog",))).reason == "denied"


def test_where_some_labels_are_allowed_the_others_are_denied() -> None:
    rules = Decision(allow=("dog",))
    assert decide("dog", 1.0, LOUD, False, rules).accepted
    assert decide("cat", 1.0, LOUD, False, rules).reason == "denied"


def test_deny_goes_before_allow() -> None:
    assert (
        decide("dog", 1.0, LOUD, False, Decision(allow=("dog",), deny=("dog",))).reason == "denied"
    )


@pytest.mark.parametrize(
    ("level", "reason"), [(-70.01, "silence"), (-70.0, None), (-200, "silence")]
)
def test_what_is_too_quiet_is_silence(level: float, reason: str | None) -> None:
    assert decide("dog", 1.0, level, False, Decision()).reason == reason


def test_what_the_model_does_not_know_is_unknown_unless_that_is_not_asked_for() -> None:
    assert decide("dog", 0.9, LOUD, True, Decision()) == Verdict(False, 0.75, "unknown")
    assert decide("dog", 0.9, LOUD, True, Decision(unknown=False)).accepted
    assert decide("dog", 0.9, -100, True, Decision()).reason == "silence"
    assert decide("dog", 0.9, LOUD, True, Decision(deny=("dog",))).reason == "denied"


def test_silence_is_the_first_reason_and_a_denied_label_the_second() -> None:
    rules = Decision(deny=("dog",))
    assert decide("dog", 0.0, -100, False, rules).reason == "silence"
    assert decide("dog", 0.0, LOUD, False, rules).reason == "denied"


@pytest.mark.parametrize(
    "rules",
    [Decision(thresholds={"dgo": 0.5}), Decision(allow=("dgo",)), Decision(deny=("dgo",))],
)
def test_a_rule_for_a_label_that_the_model_does_not_know_is_an_error(rules: Decision) -> None:
    with pytest.raises(SettingsError, match=r"`dgo`.*did you mean `dog`"):
        check_labels(rules, ("cat", "dog"))


def test_rules_for_known_labels_are_fine() -> None:
    check_labels(Decision(thresholds={"dog": 0.5}, allow=("cat",)), ("cat", "dog"))


def test_scores_chosen_for_another_model_are_named() -> None:
    assert tuned_for_another(Settings(), "esc50 5") is None
    chosen = Settings(
        decision=Decision(threshold=0.6, thresholds={"dog": 0.5}),
        events=Events(confirm_at=0.7, labels={"hen": EventRule(confirm_at=0.4)}),
    )
    assert tuned_for_another(chosen, "esc50 4") is None
    warning = tuned_for_another(chosen, "esc50 5")
    assert warning is not None
    for part in (
        "`decision.threshold`", "`decision.thresholds`", "`events.confirm_at`",
        "`events.labels.hen.confirm_at`", "suit esc50 4", 'set `tuned_for = "esc50 5"`',
    ):  # fmt: skip
        assert part in warning
    done = Settings(decision=Decision(threshold=0.6, tuned_for="esc50 5"))
    assert tuned_for_another(done, "esc50 5") is None
    assert "suit esc50 5, and the model is mine 0" in str(tuned_for_another(done, "mine 0"))
