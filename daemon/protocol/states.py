"""The daemon's state, as in heartbeats and the status reply; neither is journalled."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from daemon.protocol.fields import (
    Count,
    Positive,
    Seconds,
    Sha256,
    Text,
    Time,
    Uuid,
    Word,
    const,
    one_of,
)
from daemon.protocol.messages import SCHEMA, TYPES

SourceState = Annotated[
    str, one_of("starting", "watching", "polling", "hearing", "lost", "blocked")
]


Last = Annotated[dict[str, Count], Meta(extra_json_schema={"required": list(TYPES)})]
"""The newest seq of each type."""


class FolderState(Struct, frozen=True, kw_only=True, tag_field="kind", tag="file"):
    """One `[[folder]]`."""

    name: Text
    path: str
    state: SourceState
    degraded: str | None  # why events alone do not do
    scanning: bool
    waiting: Count  # files without an end state
    ignored: dict[str, Count]  # names passed over, by reason
    # An older daemon lacks these. Known files by their state: settling, queued and so on.
    files: dict[str, Count] | UnsetType = UNSET
    fault: str | UnsetType | None = UNSET  # why files are retried, or a directory is not listed
    recursive: bool | UnsetType = UNSET  # files in directories below it belong to it
    suffixes: list[str] | UnsetType = UNSET  # of names that it looks at, in lower case


class MicrophoneState(Struct, frozen=True, kw_only=True, tag_field="kind", tag="mic"):
    """One `[[microphone]]` or `[[stream]]`."""

    name: Text
    path: None = None
    device: str | None
    state: SourceState
    degraded: str | None  # why there is no sound
    silent: bool  # it gives exact zeros
    level_dbfs: float
    gaps: Count
    waiting: Count = 0


class Backlog(Struct, frozen=True):
    """What waits."""

    files: Count  # without an end state
    messages: Count  # to be committed


class Heartbeat(Struct, frozen=True, kw_only=True):
    """Published every 5 s. The thread that publishes it sets the fields that are UNSET here."""

    schema: Annotated[str, const(SCHEMA)] = SCHEMA
    type: Annotated[str, const("heartbeat")] = "heartbeat"
    published_at: Time | UnsetType = UNSET
    journal: Uuid | UnsetType = UNSET
    run_id: Uuid
    node: Text
    sources: list[FolderState | MicrophoneState]
    backlog: Backlog
    blocked: str | None  # why the daemon cannot commit
    last: Last | UnsetType = UNSET


class RunningModel(Struct, frozen=True):
    """The checkpoint that judges windows, and the engine that runs it."""

    name: Text
    version: Text
    sha256: Sha256
    engine: Annotated[str, one_of("onnx", "int8", "torch")]
    engine_reason: Text | UnsetType = UNSET  # why this engine; an older daemon does not say


class HelperState(Struct, frozen=True):
    """A subscriber that the daemon runs beside itself, such as the page."""

    name: Word
    state: Annotated[str, one_of("starting", "running", "lost")]
    pid: Positive | None  # None between its end and the next start
    restarts: Count  # in this run of the daemon


class EventRule(Struct, frozen=True):
    """When windows of a label form an event."""

    confirm_at: float  # score of a single window
    confirm_count: Positive  # else this many windows of the label
    confirm_of: Positive  # among this many consecutive ones
    end_after: Seconds  # without the label


class EventRules(EventRule, frozen=True):
    """The settings `[events]`."""

    labels: dict[str, EventRule]  # those with separate rules


class Replays(Struct, frozen=True):
    """Requests to replay."""

    answered: Count
    refused: Count


class DaemonStatus(Struct, frozen=True, kw_only=True):
    """The reply to `{"status": true}`."""

    version: Text
    pid: Positive
    node: Text
    run_id: Uuid
    journal: Uuid
    started_at: Time
    uptime_s: float
    publish: Text  # endpoints
    replay: Text
    state: Text  # directory
    model: RunningModel
    workers: Positive
    sources: list[FolderState | MicrophoneState]
    backlog: Backlog
    blocked: str | None
    last: Last
    published: dict[str, Count]  # messages of this run, by type; files by end state
    progress: float  # s since 1970 of the last commit
    journal_bytes: Count
    windows_per_second: Seconds
    replays: Replays
    connections: dict[str, dict[str, Count]]  # by endpoint
    jobs: dict[str, Count]  # waiting in each line
    # An older daemon gives neither.
    helpers: list[HelperState] | UnsetType = UNSET
    events: EventRules | UnsetType = UNSET
