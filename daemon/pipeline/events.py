"""One sound is one event: when it is confirmed, goes on and ends."""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import dataclass, field, replace

from daemon.settings.schema import Events


@dataclass(frozen=True)
class Heard:
    """One live window as the decision left it."""

    label: str
    score: float
    passed: bool  # it would be accepted, but for being confirmed
    heeded: bool  # it counts for its label all the same: it is neither silence nor denied
    starts: float  # s since 1970
    ends: float


@dataclass(frozen=True)
class Detection:
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
    _open: dict[str, Detection] = field(default_factory=dict)

    def hear(self, window: Heard) -> tuple[bool, list[Detection]]:
        """Take in the next window: whether it is confirmed, and what that means for events."""
        self._recent.append(window)
        while len(self._recent) > self.rules.longest:
            self._recent.popleft()
        changes = self._end_quiet(window)
        known = self._open.get(window.label)
        if known is not None and window.passed:
            event = replace(
                known,
                state="update",
                heard=window.ends,
                peak=max(known.peak, window.score),
                windows=known.windows + 1,
            )
        elif known is None and self._confirmed(window):
            event = self._begin(window)
        else:
            return False, changes
        self._open[window.label] = event
        return window.passed, [*changes, event]

    def _alike(self, window: Heard) -> list[Heard]:
        """The recent windows of its label, and itself, oldest first."""
        recent = list(self._recent)[-self.rules.of(window.label).confirm_of :]
        return [w for w in recent if w.heeded and w.label == window.label]

    def _confirmed(self, window: Heard) -> bool:
        """At once by its score, or by others of its label, one of which would do by itself."""
        rule = self.rules.of(window.label)
        if window.passed and window.score >= rule.confirm_at:
            return True
        alike = self._alike(window)
        enough = window.heeded and len(alike) >= rule.confirm_count
        return enough and any(w.passed for w in alike)

    def _begin(self, window: Heard) -> Detection:
        """An event begins with the earliest recent window that heard it."""
        alike = self._alike(window)
        return Detection(
            str(uuid.uuid4()),
            window.label,
            "start",
            alike[0].starts,
            window.ends,
            max(w.score for w in alike),
            len(alike),
        )

    def _end_quiet(self, window: Heard) -> list[Detection]:
        """End what has not been heard for long enough, unless it is heard in this window."""
        ended = []
        for label, event in list(self._open.items()):
            again = window.passed and window.label == label
            if not again and window.ends - event.heard >= self.rules.of(label).end_after:
                ended.append(self._end(label, "quiet"))
        return ended

    def end_all(self, reason: str) -> list[Detection]:
        """End what goes on: nothing more is heard from this source, or not for a while."""
        self._recent.clear()
        return [self._end(label, reason) for label in list(self._open)]

    def _end(self, label: str, reason: str) -> Detection:
        # What has ended is not begun again by the windows that belonged to it.
        self._recent = deque(replace(w, heeded=w.heeded and w.label != label) for w in self._recent)
        return replace(self._open.pop(label), state="end", reason=reason)
