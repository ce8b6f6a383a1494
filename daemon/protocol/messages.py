"""The messages that the daemon publishes: the contract, version 1, as types.

A source makes a message without its place in the stream (`seq`, `prev`, `journal`, …); `seal` sets
it when the journal commits the message. docs/messages.md describes the fields for readers in any
language, and docs/messages.schema.json is made from these types (`daemon.protocol.schema`). The
order of the fields is the order on the wire. Fields are added, never renamed or removed.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, TypedDict, Unpack
from urllib.parse import quote_from_bytes, unquote_to_bytes

import msgspec
from msgspec import UNSET, Struct, UnsetType, defstruct
from msgspec.structs import asdict, replace

from daemon.protocol.fields import (
    Count,
    Hash,
    Level,
    Path,
    Positive,
    Score,
    Seconds,
    Sha256,
    Text,
    Time,
    Uuid,
    Word,
    at_least,
    between,
    const,
    min_items,
    more_than,
    one_of,
)

SCHEMA = "tinyast/1"
PREFIX = "tinyast.v1."
TYPES = ("prediction", "file", "event", "gap", "status")  # journalled; each counts its own `prev`
HEARTBEAT_TOPIC = PREFIX + "heartbeat"


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


# -- what messages have in common ----------------------------------------------------------------


class Source(Struct, frozen=True):
    """The source of the sound."""

    kind: Annotated[str, one_of("file", "mic")]
    name: Text  # as in the settings
    path: Path | None = None  # absolute; for a file or, in a status, a folder
    path_encoding: Annotated[str, const("percent")] | UnsetType = UNSET


def file_source(name: str, path: bytes) -> Source:
    """The source of a file or folder at `path`: percent-encoded if it is not UTF-8."""
    try:
        return Source("file", name, path.decode("utf-8"))
    except UnicodeDecodeError:
        return Source("file", name, quote_from_bytes(path), "percent")


def raw_path(path: str, encoded: bool) -> bytes:
    """A path that `file_source` wrote, as the file system has it; `encoded` if it is not UTF-8."""
    return unquote_to_bytes(path) if encoded else os.fsencode(path)


class Message(Struct, frozen=True, kw_only=True):
    """The envelope. `seal` sets the fields that are UNSET here."""

    schema: Annotated[str, const(SCHEMA)] = SCHEMA
    type: Annotated[str, one_of(*TYPES)]
    seq: Positive | UnsetType = UNSET  # numbers all messages of one journal from 1
    prev: Count | UnsetType = UNSET  # seq of the message of this type before it; 0 for the first
    journal: Uuid | UnsetType = UNSET
    run_id: Uuid | UnsetType = UNSET
    node: Text | UnsetType = UNSET
    id: Hash  # unique in the journal
    published_at: Time | UnsetType = UNSET
    source: Source | None

    @property
    def topic(self) -> str:
        raise NotImplementedError


PLACE = ("seq", "prev", "journal", "run_id", "latency_ms")  # fields missing in a line of `classify`


# -- prediction ----------------------------------------------------------------------------------


CLOCKS = ("capture", "bext", "guano", "wamd", "ixml", "comment", "name", "mtime")


class ClockDoubt(Struct, frozen=True):
    """Another source of a window's time, which disagrees by over a minute."""

    clock: Annotated[str, one_of(*CLOCKS)]
    started_at: Time  # when the window began by that source


class Window(Struct, frozen=True):
    """The position of a prediction's window."""

    index: Count  # in its file, or in this run of its microphone
    start_s: float  # s from the file's start, or from the first sample that the run captured
    end_s: Annotated[float, more_than(0)]
    padded_s: Seconds  # zeros added to make it a whole window
    started_at: Time  # when its first sample was recorded
    clock: Annotated[str, one_of(*CLOCKS)]  # source of that time
    clock_doubt: ClockDoubt | UnsetType = UNSET


class Model(Struct, frozen=True):
    """The checkpoint that judged a window."""

    name: Text
    version: Text
    sha256: Sha256  # of the file that holds the weights


class Recorder(Struct, frozen=True, kw_only=True):
    """What a file says of the device that recorded it, and of its surroundings."""

    device: Text | UnsetType = UNSET  # make and model
    serial: Text | UnsetType = UNSET
    latitude: Annotated[float, between(-90, 90)] | UnsetType = UNSET  # degrees north, WGS 84
    longitude: Annotated[float, between(-180, 180)] | UnsetType = UNSET  # degrees east
    elevation_m: float | UnsetType = UNSET
    temperature_c: float | UnsetType = UNSET  # of the air, or else inside the device


class Ranked(Struct, frozen=True):
    """A label and its score."""

    label: Text
    score: Score


REASONS = ("silence", "unknown", "below_threshold", "denied", "unconfirmed", "speech")


class Judgement(Struct, frozen=True, kw_only=True):
    """The classification of one window, and the decision about it."""

    label: str  # the best one
    score: float  # 0 to 1
    threshold: float
    decision: str  # accepted or rejected
    reason: str | None  # one of REASONS; None if accepted
    top: tuple[Ranked, ...]  # best first
    rms_dbfs: float
    model: Model
    private: bool | UnsetType = UNSET  # True if it holds a voice that is not to be heard


class Prediction(Message, frozen=True, kw_only=True):
    """The classification of one window; once per window."""

    type: Annotated[str, const("prediction")] = "prediction"
    source: Source
    file_id: Hash | None  # names the version of the file; None for a microphone
    window: Window
    label: Text
    score: Score
    threshold: Score
    decision: Annotated[str, one_of("accepted", "rejected")]
    reason: Annotated[str | None, one_of(None, *REASONS)]
    top: Annotated[tuple[Ranked, ...], min_items(1)]
    rms_dbfs: Level
    model: Model
    # True if it holds a voice: whoever shows it must not play its sound ([privacy] speech).
    private: bool | UnsetType = UNSET
    recorder: Recorder | UnsetType = UNSET  # of a file that says something of it
    # Path of the kept FLAC file of a live window; None if it could not be written.
    audio: str | UnsetType | None = UNSET
    latency_ms: float | UnsetType = UNSET  # from whole sound to commit

    @property
    def topic(self) -> str:
        return topic("prediction", self.source.kind, self.source.name, self.label)


def prediction(
    source: Source,
    file_id: str,
    window: Window,
    judgement: Judgement,
    recorder: Recorder | UnsetType = UNSET,
) -> Prediction:
    """The prediction for one window of a file."""
    return Prediction(
        id=digest(file_id, window.index, "prediction"),
        source=source,
        file_id=file_id,
        window=window,
        recorder=recorder,
        **asdict(judgement),
    )


def live_prediction(
    source: Source,
    run_id: str,
    first_frame: int,
    window: Window,
    judgement: Judgement,
    audio: str | UnsetType | None = UNSET,
) -> Prediction:
    """The prediction for one live window; `first_frame` counts from the start of this run."""
    return Prediction(
        id=digest(run_id, source.name, first_frame, "prediction"),
        source=source,
        file_id=None,
        window=window,
        audio=audio,
        **asdict(judgement),
    )


# Live predictions have had `window` near their end since the first version.
_LIVE_ORDER = sorted(
    Prediction.__struct_fields__, key=lambda name: (name == "latency_ms", name == "window")
)
_Live = defstruct("_Live", _LIVE_ORDER)


# -- file ----------------------------------------------------------------------------------------


class Error(Struct, frozen=True):
    """Why something failed."""

    code: Word  # for programs
    text: Text  # for people


class FileEnd(Message, frozen=True, kw_only=True):
    """The end state of one version of a file; once per version, after its predictions."""

    type: Annotated[str, const("file")] = "file"
    source: Source
    file_id: Hash
    state: Annotated[str, one_of("done", "failed", "incomplete")]
    windows: Count  # predictions published
    duration_s: Annotated[float | None, more_than(0)]
    sample_rate: Annotated[int | None, at_least(1)]  # Hz
    error: Error | None  # why it is not `done`

    @property
    def topic(self) -> str:
        return topic("file", self.state)


def end_state(error: Error) -> str:
    """The end state of a file of which all windows that can be read were classified."""
    return "incomplete" if error.code in ("cut_short", "unread_data") else "failed"


def end_id(file_id: str) -> str:
    """The `id` of the end state of a version of a file."""
    return digest(file_id, "end", "file")


def file_end(
    source: Source,
    file_id: str,
    state: str,
    windows: int,
    error: Error | None = None,
    duration_s: float | None = None,
    sample_rate: int | None = None,
) -> FileEnd:
    """The one end state of a file version."""
    return FileEnd(
        id=end_id(file_id),
        source=source,
        file_id=file_id,
        state=state,
        windows=windows,
        duration_s=duration_s,
        sample_rate=sample_rate,
        error=error,
    )


# -- event ---------------------------------------------------------------------------------------


class Event(Message, frozen=True, kw_only=True):
    """A sound starts, continues (`update`) or ends."""

    type: Annotated[str, const("event")] = "event"
    source: Source
    event_id: Uuid
    state: Annotated[str, one_of("start", "update", "end")]
    label: Text
    started_at: Time
    heard_until: Time
    duration_s: Seconds
    peak_score: Score
    windows: Positive  # number of windows with this sound
    reason: Annotated[str | None, one_of(None, "quiet", "stopped", "source_lost", "restart")]

    @property
    def topic(self) -> str:
        return topic("event", self.source.kind, self.source.name, self.label)


def event_message_id(event_id: str, number: int, state: str) -> str:
    """The `id` of an event's message; `number` counts the messages of one event."""
    return digest(event_id, number, state, "event")


# -- gap -----------------------------------------------------------------------------------------


class Gap(Message, frozen=True, kw_only=True):
    """Live audio was lost."""

    type: Annotated[str, const("gap")] = "gap"
    source: Source
    began_at: Time
    duration_s: Seconds
    frames: Count
    reason: Annotated[
        str, one_of("source_lost", "lost_frames", "capture_overflow", "overload", "unusable")
    ]

    @property
    def topic(self) -> str:
        return topic("gap", self.source.kind)


class Loss(Struct, frozen=True):
    """Live audio that was lost, before it is a message."""

    began: float  # s since 1970
    duration_s: float
    frames: int
    reason: str  # as in a Gap


def gap(source: Source, run_id: str, number: int, lost: Loss) -> Gap:
    """Live audio was lost; `number` counts the gaps of one run and source."""
    return Gap(
        id=digest(run_id, source.name, number, "gap"),
        source=source,
        began_at=timestamp(lost.began),
        duration_s=round(lost.duration_s, 3),
        frames=lost.frames,
        reason=lost.reason,
    )


# -- status --------------------------------------------------------------------------------------


class StatusDetails(TypedDict, total=False):
    """The optional details of a status."""

    code: str
    helper: str
    file: str
    connections: int
    step_s: float
    applied: Sequence[str]
    restart: Sequence[str]


class Status(Message, frozen=True, kw_only=True):
    """Something about the daemon or one of its sources changed."""

    type: Annotated[str, const("status")] = "status"
    status: Word
    text: Text
    code: Word | UnsetType = UNSET  # source_lost, helper_lost: why
    helper: Word | UnsetType = UNSET  # helper_lost, helper_back: its name
    file: str | UnsetType = UNSET  # journal_replaced: path of the old journal
    connections: Count | UnsetType = UNSET  # crowded
    step_s: float | UnsetType = UNSET  # clock_set: by how much, s
    applied: Sequence[str] | UnsetType = UNSET  # reloaded: settings that count from now on
    restart: Sequence[str] | UnsetType = UNSET  # and those that count after a restart

    @property
    def topic(self) -> str:
        return topic("status", self.status)


def status(
    run_id: str,
    number: int,
    what: str,
    text: str,
    source: Source | None = None,
    **details: Unpack[StatusDetails],
) -> Status:
    """Something about the daemon itself; `number` counts the statuses of one run."""
    return Status(
        id=digest(run_id, number, "status"), source=source, status=what, text=text, **details
    )


# -- on the way out ------------------------------------------------------------------------------


class Envelope(Struct, frozen=True):
    """The fields that all messages of one commit share."""

    journal: str
    run_id: str
    node: str
    published_at: str  # as `now` gives it


def seal(
    message: Message, envelope: Envelope, seq: int, prev: int, noticed: float | None = None
) -> bytes:
    """The JSON object as it is journalled and published.

    `prev` is the seq of the message of the same type before it, 0 for the first; `noticed` the
    time.monotonic() when the sound of a prediction was whole.
    """
    place = {
        "seq": seq,
        "prev": prev,
        "journal": envelope.journal,
        "run_id": envelope.run_id,
        "node": envelope.node,
        "published_at": envelope.published_at,
    }
    if noticed is not None and isinstance(message, Prediction):
        latency = round(1000 * (time.monotonic() - noticed), 3)
        return to_json(replace(message, **place, latency_ms=latency))
    return to_json(replace(message, **place))


def to_json(message: object) -> bytes:
    """A message, or any other struct, as JSON."""
    if isinstance(message, Prediction) and message.source.kind == "mic":
        return _encode(_Live(*(getattr(message, name) for name in _LIVE_ORDER)))
    return _encode(message)


_encode = msgspec.json.Encoder().encode
