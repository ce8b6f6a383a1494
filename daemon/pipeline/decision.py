"""Decide whether a prediction is accepted, and if not, why."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType

from msgspec import Struct

from daemon.errors import SettingsError
from daemon.settings.schema import Decision, Settings


class Verdict(Struct, frozen=True):
    """The decision on one window."""

    accepted: bool
    threshold: float  # least score of its label
    reason: str | None  # silence, denied, unknown or below_threshold; None if accepted


def decide(
    label: str,
    score: float,
    rms_dbfs: float,
    unknown: bool,
    rules: Decision,
    learnt: Mapping[str, float] = MappingProxyType({}),
) -> Verdict:
    """Decide on one window by its best label. Gives the first reason against it.

    `unknown` is true if the model finds the sound unlike all its labels. `learnt` are thresholds of
    single labels that come with the model; those in the settings go before them.
    """
    threshold = rules.thresholds.get(label, learnt.get(label, rules.threshold))
    reason = None
    if rms_dbfs < rules.silence_dbfs:
        reason = "silence"
    elif label in rules.deny or (rules.allow and label not in rules.allow):
        reason = "denied"
    elif unknown and rules.unknown:
        reason = "unknown"
    elif score < threshold:
        reason = "below_threshold"
    return Verdict(reason is None, threshold, reason)


def tuned_for_another(settings: Settings, model: str) -> str | None:
    """A warning if scores in `settings` were chosen for another model than `model`.

    `model` is a name and a version, as in `[decision] tuned_for`. Defaults suit every model.
    """
    rules, events, usual = settings.decision, settings.events, Settings()
    chosen = {
        "decision.threshold": rules.threshold != usual.decision.threshold,
        "decision.thresholds": bool(rules.thresholds),
        "events.confirm_at": events.confirm_at != usual.events.confirm_at,
        **{
            f"events.labels.{label}.confirm_at": own.confirm_at is not None
            for label, own in events.labels.items()
        },
    }
    names = [f"`{name}`" for name, given in chosen.items() if given]
    if not names or rules.tuned_for == model:
        return None
    return (
        f"{', '.join(names)} in the settings suit {rules.tuned_for or 'another model'}, and the "
        f"model is {model}, whose scores mean something else: check them, then set "
        f'`tuned_for = "{model}"` in [decision]'
    )


def check_labels(rules: Decision, labels: Collection[str]) -> None:
    """Raise SettingsError if a rule names a label that the model does not know."""
    check_known("decision.thresholds", rules.thresholds, labels)
    check_known("decision.allow", rules.allow, labels)
    check_known("decision.deny", rules.deny, labels)


def check_known(setting: str, named: Iterable[str], labels: Collection[str]) -> None:
    """Raise SettingsError if `setting` names a label that is not among `labels`."""
    for words in unknown(setting, named, labels):
        raise SettingsError(words)


def unknown(setting: str, named: Iterable[str], labels: Collection[str]) -> Iterator[str]:
    """A sentence for each label that `setting` names and that is not among `labels`."""
    for label in named:
        if label not in labels:
            near = difflib.get_close_matches(label, labels, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(labels)}"
            yield f"`{setting}` names `{label}`, which the model does not know; {hint}"
