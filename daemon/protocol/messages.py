"""What the daemon says: the message contract, version 1, in one place.

A `Message` is made without its place in the stream; `seal` gives it the envelope when the journal
commits it. docs/messages.md is the reference for readers in any language.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote_from_bytes

import msgspec

SCHEMA = "tinyast/1"
PREFIX = "tinyast.v1."
TYPES = ("prediction", "file", "event", "gap", "status")  # journalled; each counts its own `prev`
HEARTBEAT_TOPIC = PREFIX + "heartbeat"

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Source:
    """Where a message's sound came from."""

    kind: str  # "file" or "mic"
    name: str  # as in the settings
    path: bytes | None = None  # absolute, for a file


@dataclass(frozen=True)
class Message:
    """One message, all but its envelope."""

    type: str
    topic: str
    id: str  # 32 hexadecimal digits, unique in the journal
    source: Source | None
    body: dict[str, Any] = field(default_factory=dict)
    noticed: float | None = None  # time.monotonic() when its sound was whole; gives latency_ms


@dataclass(frozen=True)
class Envelope:
    """What the messages of one commit have in common."""

    journal: str
    run_id: str
    node: str
    published_at: str  # as `now` gives it


def seal(message: Message, envelope: Envelope, seq: int, prev: int) -> bytes:
    """The JSON object as it is journalled and published.

    `prev` is the seq of the message of the same type before it; 0 for the first.
    """
    body = {
        "schema": SCHEMA,
        "type": message.type,
        "seq": seq,
        "prev": prev,
        "journal": envelope.journal,
        "run_id": envelope.run_id,
        "node": envelope.node,
        "id": message.id,
        "published_at": envelope.published_at,
        "source": source_fields(message.source),
        **message.body,
    }
    if message.noticed is not None:
        body["latency_ms"] = round(1000 * (time.monotonic() - message.noticed), 3)
    return _encode(body)


def to_json(body: dict[str, Any]) -> bytes:
    return _encode(body)


def now() -> str:
    return timestamp(time.time())


def timestamp(unix: float) -> str:
    """Seconds since 1970 as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def digest(*parts: object) -> str:
    """32 hexadecimal digits that stand for `parts`."""
    whole = "\0".join(str(part) for part in parts).encode("utf-8", "surrogateescape")
    return hashlib.sha256(whole).hexdigest()[:32]


@lru_cache(maxsize=1_024)
def topic(*parts: str) -> str:
    """A topic of version 1. Characters that could be taken for structure become `_`."""
    return PREFIX + ".".join(
        "".join(c if c.isalnum() or c in "_-" else "_" for c in part) for part in parts
    )


def path_fields(path: bytes) -> dict[str, str]:
    """A path as JSON can carry it: as it is, or percent-encoded where it is not UTF-8."""
    try:
        return {"path": path.decode("utf-8")}
    except UnicodeDecodeError:
        return {"path": quote_from_bytes(path), "path_encoding": "percent"}


def source_fields(source: Source | None) -> dict[str, Any] | None:
    if source is None:
        return None
    path = {"path": None} if source.path is None else path_fields(source.path)
    return {"kind": source.kind, "name": source.name, **path}


def prediction(
    source: Source, file_id: str, index: int, body: dict[str, Any], noticed: float | None
) -> Message:
    """What one window sounds like. `body` comes from `daemon.pipeline.prediction`."""
    return Message(
        "prediction",
        topic("prediction", source.kind, source.name, body["label"]),
        digest(file_id, index, "prediction"),
        source,
        {"file_id": file_id, **body},
        noticed,
    )


def live_prediction(
    source: Source, run_id: str, first_frame: int, body: dict[str, Any], noticed: float
) -> Message:
    """What one live window sounds like; `first_frame` counts from the start of this run."""
    return Message(
        "prediction",
        topic("prediction", source.kind, source.name, body["label"]),
        digest(run_id, source.name, first_frame, "prediction"),
        source,
        {"file_id": None, **body},
        noticed,
    )


def event(source: Source, event_id: str, state: str, number: int, body: dict[str, Any]) -> Message:
    """A sound starts, goes on (`update`) or ends; `number` counts the messages of one event."""
    return Message(
        "event",
        topic("event", source.kind, source.name, body["label"]),
        digest(event_id, number, state, "event"),
        source,
        {"event_id": event_id, "state": state, **body},
    )


@dataclass(frozen=True)
class Gap:
    """Live audio that was lost."""

    began: float  # s since 1970
    duration_s: float
    frames: int
    reason: str  # source_lost, lost_frames, capture_overflow or overload


def gap(source: Source, run_id: str, number: int, lost: Gap) -> Message:
    """Live audio was lost; `number` counts the gaps of one run and source."""
    return Message(
        "gap",
        topic("gap", source.kind),
        digest(run_id, source.name, number, "gap"),
        source,
        {
            "began_at": timestamp(lost.began),
            "duration_s": round(lost.duration_s, 3),
            "frames": lost.frames,
            "reason": lost.reason,
        },
    )


@dataclass(frozen=True)
class FileEnd:
    """How one version of a file ended."""

    state: str  # done, failed or incomplete
    windows: int  # predictions published
    duration_s: float | None = None
    sample_rate: int | None = None  # Hz
    code: str | None = None  # why it is not `done`, for programs
    text: str | None = None  # and for people


def file_end(source: Source, file_id: str, end: FileEnd) -> Message:
    """The one end state of a file version."""
    error = None if end.code is None else {"code": end.code, "text": end.text}
    return Message(
        "file",
        topic("file", end.state),
        digest(file_id, "end", "file"),
        source,
        {
            "file_id": file_id,
            "state": end.state,
            "windows": end.windows,
            "duration_s": end.duration_s,
            "sample_rate": end.sample_rate,
            "error": error,
        },
    )


def status(
    run_id: str, number: int, what: str, text: str, source: Source | None = None, **details: Any
) -> Message:
    """Something about the daemon itself; `number` counts the statuses of one run."""
    return Message(
        "status",
        topic("status", what),
        digest(run_id, number, "status"),
        source,
        {"status": what, "text": text, **details},
    )
