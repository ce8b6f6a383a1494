"""Group the live windows of one sound into an event: confirm it, continue it, end it.

The daemon publishes events by this rule, and the page counts by it the events of another threshold.
"""

from __future__ import annotations

import uuid
from collections import deque
from typing import Protocol

from msgspec import Struct, field
from msgspec.structs import replace


class Rule(Protocol):
    """When windows of one label form an event."""

    @property
    def confirm_at(self) -> float: ...
    @property
    def confirm_count(self) -> int: ...
    @property
    def confirm_of(self) -> int: ...
    @property
    def end_after(self) -> float: ...


class Rules(Protocol):
    """The settings `[events]`."""

    @property
    def longest(self) -> int: ...
    def of(self, label: str, /) -> Rule: ...


class Heard(Struct, frozen=True):
    """One live window after the decision."""

    label: str
    score: float
    passed: bool  # accepted, if an event confirms it
    heeded: bool  # it counts for its label: neither silence nor denied
    starts: float  # s since 1970
    ends: float


class Detection(Struct, frozen=True):
    """The current state of one event."""

    id: str
    label: str
    state: str  # start, update or end
    started: float  # s since 1970, start of the first window
    heard: float  # s since 1970, end of the last window
    peak: float  # best score
    windows: int  # of this sound so far
    reason: str | None = None  # of an end: quiet, source_lost, stopped or restart


class Tracker(Struct):
    """The events of one source, fed with its windows in order."""

    rules: Rules
    _recent: deque[Heard] = field(default_factory=deque)
    _open: dict[str, Detection] = field(default_factory=dict)

    def hear(self, window: Heard) -> tuple[bool, list[Detection]]:
        """Take in the next window; return whether it is confirmed, and the events that change."""
        changes = self._go_by(window)
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

    def pass_by(self, count: int, last: Heard) -> list[Detection]:
        """Take in `count` windows of sounds that begin no event; the events that end meanwhile.

        It is as if each were heard, `last` being the last of them.
        """
        self._recent.extend([last] * min(count - 1, self.rules.longest))
        return self._go_by(last)

    def _go_by(self, window: Heard) -> list[Detection]:
        """Remember a window; the events that it ends."""
        self._recent.append(window)
        longest = self.rules.longest
        while len(self._recent) > longest:
            self._recent.popleft()
        return self._end_quiet(window)

    def _alike(self, window: Heard) -> list[Heard]:
        """The recent windows of its label, including itself, oldest first."""
        recent = list(self._recent)[-self.rules.of(window.label).confirm_of :]
        return [w for w in recent if w.heeded and w.label == window.label]

    def _confirmed(self, window: Heard) -> bool:
        """By its score, or by enough windows of its label, at least one of them accepted."""
        rule = self.rules.of(window.label)
        if window.passed and window.score >= rule.confirm_at:
            return True
        alike = self._alike(window)
        enough = window.heeded and len(alike) >= rule.confirm_count
        return enough and any(w.passed for w in alike)

    def _begin(self, window: Heard) -> Detection:
        """Begin an event with the earliest recent window of its label."""
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
        """End events whose label has been quiet for long enough and is not in this window."""
        ended = []
        for label, event in list(self._open.items()):
            again = window.passed and window.label == label
            if not again and window.ends - event.heard >= self.rules.of(label).end_after:
                ended.append(self._end(label, "quiet"))
        return ended

    def end_all(self, reason: str) -> list[Detection]:
        """End all events, because the source stops or is lost."""
        self._recent.clear()
        return [self._end(label, reason) for label in list(self._open)]

    def _end(self, label: str, reason: str) -> Detection:
        # Windows of an ended event must not begin another.
        self._recent = deque(replace(w, heeded=w.heeded and w.label != label) for w in self._recent)
        return replace(self._open.pop(label), state="end", reason=reason)
