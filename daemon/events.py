"""One sound is one event: when it is confirmed, goes on and ends."""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import dataclass, field, replace

from daemon.settings import Events


@dataclass(frozen=True)
class Heard:
    """One live window as the decision left it."""

    label: str
    score: float
    passed: bool  # it would be accepted, but for being confirmed
    starts: float  # s since 1970
    ends: float


@dataclass(frozen=True)
class Event:
    """A sound that was heard, as it stands now."""

    id: str
    label: str
    state: str  # start, update or end
    started: float  # s since 1970, of the first window in which it was heard
    heard: float  # s since 1970, the end of the last one
    peak: float  # best score
    windows: int  # in which it was heard
    reason: str | None = None  # of an end: quiet, source_lost, stopped or restart


@dataclass
class Tracker:
    """The events of one source, fed with its windows in order."""

    rules: Events
    _recent: deque[Heard] = field(default_factory=deque)
    _open: dict[str, Event] = field(default_factory=dict)

    def hear(self, window: Heard) -> tuple[bool, list[Event]]:
        """Take in the next window: whether it is confirmed, and what that means for events."""
        self._recent.append(window)
        while len(self._recent) > self.rules.longest:
            self._recent.popleft()
        changes = self._end_quiet(window)
        if not window.passed:
            return False, changes
        known = self._open.get(window.label)
        if known is not None:
            event = replace(
                known,
                state="update",
                heard=window.ends,
                peak=max(known.peak, window.score),
                windows=known.windows + 1,
            )
        elif self._confirmed(window):
            event = self._begin(window)
        else:
            return False, changes
        self._open[window.label] = event
        return True, [*changes, event]

    def _confirmed(self, window: Heard) -> bool:
        rule = self.rules.of(window.label)
        recent = list(self._recent)[-rule.confirm_of :]
        alike = sum(1 for w in recent if w.passed and w.label == window.label)
        return window.score >= rule.confirm_at or alike >= rule.confirm_count

    def _begin(self, window: Heard) -> Event:
        """An event begins with the earliest recent window that heard it."""
        rule = self.rules.of(window.label)
        alike = [
            w
            for w in list(self._recent)[-rule.confirm_of :]
            if w.passed and w.label == window.label
        ]
        return Event(
            str(uuid.uuid4()),
            window.label,
            "start",
            alike[0].starts,
            window.ends,
            max(w.score for w in alike),
            len(alike),
        )

    def _end_quiet(self, window: Heard) -> list[Event]:
        """End what has not been heard for long enough, unless it is heard in this window."""
        ended = []
        for label, event in list(self._open.items()):
            again = window.passed and window.label == label
            if not again and window.ends - event.heard >= self.rules.of(label).end_after:
                ended.append(self._end(label, "quiet"))
        return ended

    def end_all(self, reason: str) -> list[Event]:
        """End what goes on: nothing more is heard from this source, or not for a while."""
        self._recent.clear()
        return [self._end(label, reason) for label in list(self._open)]

    def _end(self, label: str, reason: str) -> Event:
        return replace(self._open.pop(label), state="end", reason=reason)
