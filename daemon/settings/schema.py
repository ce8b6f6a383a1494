"""Settings: their names, types, units, defaults and limits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from daemon.settings.paths import expanded
from daemon.settings.subscribers import Mqtt, Notify
from daemon.settings.urls import without_secrets
from tinyast.inference.engine_names import EngineChoice

# The mean of all channels, the loudest one, or one by its number, from 1.
Channel = Literal["mix", "loudest"] | Annotated[int, Meta(ge=1, le=64)]
Positive = Annotated[float, Meta(gt=0)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Format = Literal["wav", "flac", "ogg", "mp3", "opus", "m4a", "aac"]


USUAL_FOLDER = "data/test"  # is watched if no folder is named
PUT_AWAY = ("done", "failed")  # where `after = "move"` puts files, in their folder


class Folder(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One `[[folder]]` to watch."""

    path: str
    name: str = ""  # in topics and messages; the folder's name if empty
    recursive: bool = False
    formats: tuple[Format, ...] = ("wav",)  # recognised by content
    suffixes: tuple[str, ...] = ()  # of names to consider; those of `formats` if empty
    channel: Channel = "mix"  # heard of several; "loudest": of each window
    settle: Positive = 10.0  # s unchanged until a file is read that may have a writer
    watch: Literal["auto", "events", "poll"] = "auto"
    poll: Positive = 2.0  # s between scans if the system reports no events
    rescan: Positive = 600.0  # s between scans if it does, in case one was lost
    after: Literal["keep", "move", "delete"] = "keep"
    time_pattern: str = "auto"  # of times in names; "auto": as recorders write them
    time_zone: str = "UTC"  # of recording times in file names and BEXT chunks

    def looks_at(self) -> tuple[str, ...]:
        """Suffixes of names to consider, in lower case."""
        given = self.suffixes or tuple(f".{name}" for name in self.formats)
        return tuple(suffix.lower() for suffix in given)


class Live(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `[[microphone]]` and `[[stream]]` have in common."""

    name: str = "mic"  # in topics and messages
    hop: Annotated[float, Meta(ge=0.1, le=60)] = 2.5  # s from one window to the next
    channel: Channel = "mix"  # heard of several; "loudest": of the last second or so
    keep: Literal["none", "accepted", "all"] = "none"  # windows to save as FLAC
    keep_days: Positive = 30.0
    keep_mb: Positive = 1_000.0  # megabytes; the oldest are deleted first


class Microphone(Live, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One `[[microphone]]` to listen to."""

    device: str = ""  # as `tinyastd devices` names it; the default input if empty
    rate: Annotated[int, Meta(ge=0, le=384_000)] = 0  # Hz; the device's own if 0
    channels: Annotated[int, Meta(ge=0, le=64)] = 0  # opened; the device's own if 0


class Stream(Live, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One `[[stream]]`: a microphone that is reached over the network, by ffmpeg."""

    url: str = ""  # rtsp(s)://, http(s)://, or tcp:// and udp:// with raw samples
    url_file: str = ""  # the first line is the URL, for one that holds a password
    name: str = "stream"
    # Of raw samples alone; other streams say theirs.
    format: Literal["s16le", "s16be", "s24le", "s32le", "f32le", "u8", "mulaw", "alaw"] = "s16le"
    rate: Annotated[int, Meta(ge=0, le=384_000)] = 0  # Hz
    channels: Annotated[int, Meta(ge=1, le=64)] = 1

    @property
    def device(self) -> str:
        """What messages and logs name: the URL without its secrets."""
        return without_secrets(self.url)


class EventRule(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[events.labels.LABEL]`: different values for one label; None: as in `[events]`."""

    confirm_at: Fraction | None = None
    confirm_count: Annotated[int, Meta(ge=1, le=100)] | None = None
    confirm_of: Annotated[int, Meta(ge=1, le=100)] | None = None
    end_after: Positive | None = None


class Events(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[events]`: when live windows of one label form one event."""

    confirm_at: Fraction = 0.85  # a single window with this score starts an event
    confirm_count: Annotated[int, Meta(ge=1, le=100)] = 2  # else this many windows of the label
    confirm_of: Annotated[int, Meta(ge=1, le=100)] = 3  # among this many consecutive windows
    end_after: Positive = 10.0  # s without the label until the event ends
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
        """The greatest `confirm_of`: windows to remember."""
        return max([self.confirm_of, *(self.of(label).confirm_of for label in self.labels)])


class Decision(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[decision]`: which predictions are accepted."""

    threshold: Fraction = 0.75  # least score: nine in ten are right (docs/model.md)
    thresholds: dict[str, Fraction] = {}  # least score of single labels
    # Name and version of the model whose scores these settings were chosen for. Settings of
    # releases that did not know this key were chosen for version 4.
    tuned_for: str = "esc50 4"
    allow: tuple[str, ...] = ()  # accept only these labels, if any
    deny: tuple[str, ...] = ()  # never accept these
    silence_dbfs: float = -70.0  # level below which a window is silence
    unknown: bool = True  # reject sounds that are unlike all labels


class Audio(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[audio]`: how recordings are cut."""

    hop: Annotated[float, Meta(ge=0.05, le=86_400)] = 5.0  # s from one window of a file to the next
    max_duration: Positive = 86_400.0  # s; longer recordings are refused


class JournalLimits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[journal]`: limits of the messages stored for replay."""

    keep_days: Positive = 30.0
    keep_mb: Annotated[float, Meta(ge=1)] = 1_000.0  # megabytes; the oldest are deleted first
    ledger_days: Positive = 90.0  # for which a file that is gone stays known
    # Files in the ledger of a folder beyond which those that are gone are forgotten at once.
    ledger_rows: Annotated[int, Meta(ge=1)] = 1_000_000


class Page(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[page]`: the web page, in a process beside the daemon; none without this table."""

    host: str = "127.0.0.1"  # any but loopback needs `password_file`
    port: Annotated[int, Meta(ge=1, le=65_535)] = 5757
    connect: tuple[str, ...] = ()  # PUBLISH,REPLAY of daemons to show; this one if empty
    server_keys: tuple[str, ...] = ()  # files: the public key of each daemon in `connect`
    own_key: str = ""  # file: the page's key; `page.key_secret` in `keys` if empty
    store: str = ""  # directory; that of the daemon's state if empty
    password_file: str = ""
    public_url: str = ""  # address in browsers, if a reverse proxy is in front
    tls_cert: str = ""  # files (PEM), for HTTPS
    tls_key: str = ""
    keep_days: Annotated[float, Meta(ge=1)] = 365.0
    keep_mb: Annotated[float, Meta(ge=10)] = 1_000.0  # megabytes; the oldest are deleted first


Speech = Literal["keep", "no_sound", "drop"]


class Privacy(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[privacy]`: the treatment of windows in which the model hears a voice."""

    speech: Speech | None = None  # None: as `of` says
    speech_score: Fraction = 0.25  # AudioSet's score of speech that marks a window (docs/model.md)

    def of(self, kind: str) -> Speech:
        """The setting for a source of this kind, `file` or `mic`."""
        return self.speech or ("no_sound" if kind == "mic" else "keep")


class Pictures(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[pictures]`: the model's picture of each window, as a message."""

    publish: bool | None = None  # None: if another table shows them


class Log(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[log]`: on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "human", "json"] = "auto"  # human on a terminal, else JSON


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings of a daemon."""

    node: str = ""  # name of this daemon in messages; the host name if empty
    state: str = ""  # directory; if empty, see default_state
    publish: str = "tcp://127.0.0.1:5755"
    replay: str = "tcp://127.0.0.1:5756"
    metrics: str = ""  # HOST:PORT of /metrics, /healthz and /readyz; off if empty
    keys: str = ""  # directory made by `tinyastd keygen`; only clients with a key there get in
    insecure: bool = False  # allow endpoints that other machines can reach
    engine: EngineChoice = "auto"
    checkpoint: str = ""  # directory, or a shipped one's name; `esc50` if empty
    workers: Annotated[int, Meta(ge=0, le=256)] = 0  # threads; one for each core if 0
    top: Annotated[int, Meta(ge=1, le=50)] = 5  # labels listed in a prediction
    folder: tuple[Folder, ...] = (Folder(path=USUAL_FOLDER),)
    microphone: tuple[Microphone, ...] = ()
    stream: tuple[Stream, ...] = ()
    decision: Decision = Decision()
    events: Events = Events()
    audio: Audio = Audio()
    journal: JournalLimits = JournalLimits()
    page: Page | None = None
    pictures: Pictures = Pictures()
    privacy: Privacy = Privacy()
    mqtt: Mqtt | None = None
    notify: tuple[Notify, ...] = ()
    log: Log = Log()

    @property
    def state_path(self) -> Path:
        """Raises SettingsError for a user without a home, if `state` is empty."""
        return Path(self.state) if self.state else default_state()

    @property
    def checkpoint_path(self) -> Path | None:
        return Path(self.checkpoint) if self.checkpoint else None

    @property
    def keys_path(self) -> Path | None:
        return Path(self.keys) if self.keys else None

    @property
    def live(self) -> tuple[Microphone | Stream, ...]:
        """Every source of live sound."""
        return (*self.microphone, *self.stream)

    @property
    def publishes_pictures(self) -> bool:
        given = self.pictures.publish
        if given is not None:
            return given
        shown = self.mqtt is not None and self.mqtt.home_assistant is not None
        shown = shown or any("picture" in each.attach for each in self.notify)
        return shown or self.page is not None

    @property
    def heeds_speech(self) -> bool:
        """Whether a source's windows are treated differently if they hold a voice."""
        kinds = ["file"] * bool(self.folder) + ["mic"] * bool(self.live)
        return any(self.privacy.of(kind) != "keep" for kind in kinds)

    @property
    def worker_count(self) -> int:
        return self.workers or len(os.sched_getaffinity(0))


def default_state() -> Path:
    """$STATE_DIRECTORY of systemd, else the user's state directory (XDG Base Directory 0.8).

    Raises SettingsError for a user without a home.
    """
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    base = os.environ.get("XDG_STATE_HOME") or expanded(
        "~/.local/state", "name a directory with --state or `state`"
    )
    return Path(base) / "tinyast"
