"""Which messages are worth a notification, and its words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from daemon.errors import SettingsError
from daemon.protocol.messages import Event, Message, Prediction
from daemon.settings.subscribers import Notify

SAMPLE = {  # of the fields, for templates to be tried with
    "label": "dog", "score": 0.5, "source": "porch", "kind": "mic", "path": "", "node": "garden",
    "state": "start", "time": "12:00:00", "date": "2026-01-01", "duration_s": 5.0,
}  # fmt: skip


class Absent:
    """A field that a message lacks: written as a dash in any format."""

    def __format__(self, spec: str) -> str:
        return "-"

    def __getitem__(self, key: object) -> Absent:
        return self


class Fields(dict[str, object]):
    """The fields of a message for `str.format_map`."""

    def __missing__(self, key: str) -> Absent:
        return Absent()


@dataclass(frozen=True)
class Found:
    """A message that a rule wants notified."""

    label: str
    score: float
    source: str
    at: str  # local time of the sound, HH:MM:SS
    fields: Fields  # for the templates


class Rule:
    """One `[[notify]]`. Raises SettingsError if a template, the hours or the zone are unusable."""

    def __init__(self, settings: Notify, number: int) -> None:
        self.settings = settings
        self.name = settings.name or f"rule {number}"
        self._zone = _zone(settings.time_zone, self.name)
        self._hours = _hours(settings.hours, self.name)
        for template in (settings.title, settings.text):
            try:
                template.format_map(Fields(SAMPLE, message=Absent()))
            except (ValueError, AttributeError, TypeError, KeyError, IndexError) as error:
                raise SettingsError(
                    f"the text {template!r} of notify `{self.name}` cannot be used: {error}; "
                    f"it may name {', '.join(f'{{{name}}}' for name in SAMPLE)} and "
                    "{message[FIELD]}"
                ) from error

    def find(self, message: Message) -> Found | None:
        """A sound to notify of; None if the rule does not want it."""
        wanted = self.settings
        if isinstance(message, Event) and message.state in wanted.on:
            score, began = message.peak_score, message.started_at
        elif isinstance(message, Prediction) and "prediction" in wanted.on:
            if message.decision != "accepted":
                return None
            score, began = message.score, message.window.started_at
        else:
            return None
        source = message.source.name
        if wanted.labels and message.label not in wanted.labels:
            return None
        if (wanted.sources and source not in wanted.sources) or score < wanted.min_score:
            return None
        local = _moment(began).astimezone(self._zone)
        if not _within(local.time(), self._hours):
            return None
        fields = Fields(msgspec.to_builtins(message))
        fields |= {
            "message": msgspec.to_builtins(message), "score": score, "source": source,
            "kind": message.source.kind, "path": message.source.path or "",
            "time": local.strftime("%H:%M:%S"), "date": local.strftime("%Y-%m-%d"),
        }  # fmt: skip
        return Found(message.label, score, source, local.strftime("%H:%M:%S"), fields)

    def words(self, found: Found) -> tuple[str, str]:
        """Title and text."""
        try:
            title = self.settings.title.format_map(found.fields)
            return title, self.settings.text.format_map(found.fields)
        except (ValueError, AttributeError, TypeError, KeyError, IndexError):
            return f"{found.label} at {found.source}", f"{found.score:.0%} at {found.at}"


def published(message: Message) -> float:
    """When the daemon committed a message, s since 1970."""
    assert isinstance(message.published_at, str)
    return _moment(message.published_at).timestamp()


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _zone(name: str, rule: str) -> tzinfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingsError(
            f"`time_zone` {name!r} of notify `{rule}` is unknown; see /usr/share/zoneinfo"
        ) from error


def _hours(text: str, rule: str) -> tuple[time, time] | None:
    if not text:
        return None
    try:
        begin, end = (time.fromisoformat(part) for part in text.split("-"))
    except ValueError as error:
        raise SettingsError(
            f"`hours` {text!r} of notify `{rule}` are not two times of day, such as 22:00-07:00"
        ) from error
    return begin, end


def _within(now: time, hours: tuple[time, time] | None) -> bool:
    if hours is None:
        return True
    begin, end = hours
    return begin <= now < end if begin < end else now >= begin or now < end
