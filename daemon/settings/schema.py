"""Settings: their names, types, units, defaults and limits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from tinyast.inference.engine_names import EngineName

Positive = Annotated[float, Meta(gt=0)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Format = Literal["wav", "flac", "ogg", "mp3"]


class Folder(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One `[[folder]]` to watch."""

    path: str
    name: str = ""  # in topics and messages; the folder's own name if empty
    recursive: bool = False
    formats: tuple[Format, ...] = ("wav",)  # told by content
    suffixes: tuple[str, ...] = ()  # names looked at; those of `formats` if empty
    settle: Positive = 10.0  # s without a change after which a writer counts as gone
    watch: Literal["auto", "events", "poll"] = "auto"
    poll: Positive = 2.0  # s between scans where the file system sends no events
    rescan: Positive = 600.0  # s between scans where it does, in case one was lost
    after: Literal["keep", "move", "delete"] = "keep"
    time_pattern: str = r"(?P<Y>\d{4})(?P<m>\d\d)(?P<d>\d\d)[_T-]?(?P<H>\d\d)(?P<M>\d\d)(?P<S>\d\d)"
    time_zone: str = "UTC"  # of times in names and in BEXT chunks, which carry none

    def looks_at(self) -> tuple[str, ...]:
        """Suffixes of the names that are looked at, lower case."""
        given = self.suffixes or tuple(f".{name}" for name in self.formats)
        return tuple(suffix.lower() for suffix in given)


class Microphone(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One `[[microphone]]` to listen to."""

    device: str = ""  # as `tinyastd devices` names it; the default input if empty
    name: str = "mic"  # in topics and messages
    hop: Annotated[float, Meta(ge=0.1, le=60)] = 2.5  # s from one window to the next
    rate: Annotated[int, Meta(ge=0, le=384_000)] = 0  # Hz; the device's own if 0
    channels: Annotated[int, Meta(ge=0, le=64)] = 0  # averaged; the device's own if 0
    keep: Literal["none", "accepted", "all"] = "none"  # windows saved as FLAC beside the state
    keep_days: Positive = 30.0
    keep_mb: Positive = 1_000.0  # megabytes; the oldest go first


class EventRule(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[events.labels.LABEL]`: what differs for one label; None: as in `[events]`."""

    confirm_at: Fraction | None = None
    confirm_count: Annotated[int, Meta(ge=1, le=100)] | None = None
    confirm_of: Annotated[int, Meta(ge=1, le=100)] | None = None
    end_after: Positive | None = None


class Events(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[events]`: when live windows of one label are one sound."""

    confirm_at: Fraction = 0.85  # score at which one window is enough
    confirm_count: Annotated[int, Meta(ge=1, le=100)] = 2  # else so many windows of the label
    confirm_of: Annotated[int, Meta(ge=1, le=100)] = 3  # among so many in a row
    end_after: Positive = 10.0  # s without the label after which the sound has ended
    labels: dict[str, EventRule] = {}

    def of(self, label: str) -> Events:
        """The rules for one label."""
        own = self.labels.get(label)
        if own is None:
            return self
        given = {
            name: value
            for name in own.__struct_fields__
            if (value := getattr(own, name)) is not None
        }
        return msgspec.structs.replace(self, **given)

    @property
    def longest(self) -> int:
        """Windows that have to be remembered."""
        return max([self.confirm_of, *(self.of(label).confirm_of for label in self.labels)])


class Decision(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[decision]`: which predictions are accepted."""

    threshold: Fraction = 0.75  # least score: nine in ten are right (docs/model.md)
    thresholds: dict[str, Fraction] = {}  # least score of single labels
    allow: tuple[str, ...] = ()  # if any, only these labels
    deny: tuple[str, ...] = ()  # never these
    silence_dbfs: float = -70.0  # level below which a window is silence
    unknown: bool = True  # reject what is like none of the labels


class Audio(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[audio]`: how recordings are cut."""

    hop: Annotated[float, Meta(ge=0.05)] = 5.0  # s from one window of a file to the next
    max_duration: Positive = 86_400.0  # s; a longer recording is refused


class JournalLimits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[journal]`: how much of what was said is kept for replay."""

    keep_days: Positive = 30.0
    keep_mb: Annotated[float, Meta(ge=1)] = 1_000.0  # megabytes; the oldest messages go first


class Log(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[log]`: on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "human", "json"] = "auto"  # human on a terminal, else JSON


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings of a daemon."""

    node: str = ""  # names this daemon in messages; the host's name if empty
    state: str = ""  # directory; where the system keeps state if empty
    publish: str = "tcp://127.0.0.1:5755"
    replay: str = "tcp://127.0.0.1:5756"
    metrics: str = ""  # HOST:PORT of /metrics, /healthz and /readyz; off if empty
    keys: str = ""  # directory made by `tinyastd keygen`; only who has a key there gets in
    insecure: bool = False  # allow endpoints that other machines can reach
    engine: EngineName = "onnx"
    checkpoint: str = ""  # directory; the one that comes with the package if empty
    workers: Annotated[int, Meta(ge=0, le=256)] = 0  # threads; one for each core if 0
    top: Annotated[int, Meta(ge=1, le=50)] = 5  # labels listed in a prediction
    folder: tuple[Folder, ...] = (Folder(path="data/test"),)
    microphone: tuple[Microphone, ...] = ()
    decision: Decision = Decision()
    events: Events = Events()
    audio: Audio = Audio()
    journal: JournalLimits = JournalLimits()
    log: Log = Log()

    @property
    def state_path(self) -> Path:
        return Path(self.state) if self.state else default_state()

    @property
    def checkpoint_path(self) -> Path | None:
        return Path(self.checkpoint) if self.checkpoint else None

    @property
    def keys_path(self) -> Path | None:
        return Path(self.keys) if self.keys else None

    @property
    def worker_count(self) -> int:
        return self.workers or len(os.sched_getaffinity(0))


def default_state() -> Path:
    """Where systemd says, else the user's state directory (XDG Base Directory 0.8)."""
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "tinyast"
