"""Which messages `tinyastd listen` prints."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta

from daemon.errors import SettingsError
from daemon.monitoring.logging import counted
from daemon.protocol.messages import PREFIX, TYPES, Event, FileEnd, Message, Prediction
from daemon.protocol.picture import PICTURE_TOPICS

FILES = 1_000  # with predictions, before their ends; the oldest are forgotten
LABELS = 3  # of a file, in its line


def check_topic(topic: str) -> None:
    """Raise SettingsError for a prefix that no message's topic begins with."""
    begins = [f"{PREFIX}{kind}." for kind in TYPES]
    if any(each.startswith(topic) or topic.startswith(each) for each in begins):
        return
    kinds = ", ".join(begins)
    hint = (
        f"give --topic {begins[0]}file. for predictions about files, or --label {topic} for a label"
    )
    if topic.startswith((PREFIX + "heartbeat", PICTURE_TOPICS)):
        hint = "heartbeats and pictures are not journalled, and `listen` does not print them"
    raise SettingsError(f"--topic {topic}: no topic begins so; they begin with {kinds}; {hint}")


SPAN = re.compile(r"(\d+(?:\.\d+)?) *([smhd])")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}  # seconds


def read_moment(text: str, now: float) -> float:
    """Seconds since 1970 of a time in the past, as people write it; `now` is the same of now.

    A time of day is the last one of that kind, a time without an offset from UTC is local, and
    "90s", "15m", "2h" and "3d" are so long ago. Raises SettingsError.
    """
    if ago := SPAN.fullmatch(text.strip()):
        return now - float(ago[1]) * UNITS[ago[2]]
    today = datetime.fromtimestamp(now)
    try:
        if re.fullmatch(r"\d\d?:\d\d(:\d\d)?", text):
            clock = time.fromisoformat(text.zfill(5) if text.count(":") == 1 else text.zfill(8))
            then = datetime.combine(today, clock)
            return (then if then <= today else then - timedelta(days=1)).timestamp()
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise SettingsError(
            f"--since-time {text!r} is no time; write 14:30, 2026-11-29, '2026-11-29 14:30', "
            "2026-11-29T14:30:00Z, or how long ago: 90s, 15m, 2h, 3d"
        ) from None


@dataclass(frozen=True)
class Wanted:
    """With `labels`, only predictions and events of these; `accepted`: no rejected predictions."""

    labels: frozenset[str] = frozenset()
    accepted: bool = False

    def passes(self, message: Message) -> bool:
        if isinstance(message, Prediction):
            if self.accepted and message.decision != "accepted":
                return False
            return not self.labels or message.label in self.labels
        if isinstance(message, Event):
            return not self.labels or message.label in self.labels
        return not self.labels


@dataclass
class ByFile:
    """One line for a file in place of one for each window: collects predictions until its end."""

    wanted: Wanted
    # By file_id: how many windows were seen, and how many of each label.
    _labels: OrderedDict[str, tuple[int, dict[str, int]]] = field(default_factory=OrderedDict)

    def take(self, message: Message) -> str | None:
        """None for the prediction of a file; "" for a message as it is; words for a file's end."""
        if isinstance(message, Prediction) and message.file_id is not None:
            seen, counts = self._labels.get(message.file_id, (0, {}))
            self._labels[message.file_id] = seen + 1, counts
            if message.decision == "accepted" and self.wanted.passes(message):
                counts[message.label] = counts.get(message.label, 0) + 1
            if len(self._labels) > FILES:
                self._labels.popitem(last=False)
            return None
        if not isinstance(message, FileEnd):
            return "" if self.wanted.passes(message) else None
        seen, counts = self._labels.pop(message.file_id, (0, {}))
        if self.wanted.labels and not counts:
            return None
        often = sorted(counts.items(), key=lambda item: -item[1])
        words = [f"{label} {number}" for label, number in often[:LABELS]]
        if len(often) > LABELS:
            words.append(counted(len(often) - LABELS, "more label"))
        missed = message.windows - seen
        more = f" ({counted(missed, 'window')} not seen)" if missed > 0 else ""
        return (", ".join(words) or "no label accepted") + more
