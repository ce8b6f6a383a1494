"""Turn live windows of one microphone into messages, in order, before all files."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from daemon.journal.records import Delivery, OpenEvent, Record
from daemon.pipeline.clip_store import ClipStore
from daemon.pipeline.job import JobContext
from daemon.pipeline.prediction import Features, describe_window, judge
from daemon.protocol.events import Detection, Heard, Tracker
from daemon.protocol.messages import (
    Event,
    Judgement,
    Loss,
    Message,
    Prediction,
    Source,
    event_message_id,
    live_prediction,
    timestamp,
    to_json,
)
from daemon.protocol.picture import Picture
from daemon.settings.schema import Events
from tinyast.arrays import Float
from tinyast.audio.decoding import checked
from tinyast.errors import AudioError

log = logging.getLogger(__name__)

MAX_WAITING = 12  # windows; beyond that the workers cannot keep up with live audio


class LiveWindow(Struct, frozen=True, eq=False):
    """Five seconds from a microphone, or less if the stream broke off."""

    index: int  # counts this run's windows
    first_frame: int  # counts this run's frames
    samples: Float  # mono at the device's rate
    rate: int  # Hz
    started: float  # s since 1970, of the first sample
    start_s: float  # s since the run's first frame was captured
    complete: float  # time.monotonic() when the last sample was captured

    @property
    def length_s(self) -> float:
        return len(self.samples) / self.rate


class LiveJob:
    """A `Job` that exists as long as its microphone, and is in line while it has windows."""

    steps = 0

    def __init__(
        self,
        source: Source,
        run_id: str,
        context: JobContext,
        tracker: Tracker,
        store: ClipStore,
        tell_gap: Callable[[Loss], None],
    ) -> None:
        self._source, self._run_id, self._context = source, run_id, context
        self._tracker, self._store, self._tell_gap = tracker, store, tell_gap
        self._waiting: deque[LiveWindow | str] = deque()  # a string: why ongoing events end
        self._lock = threading.Lock()
        self._in_line = False
        self.classifier = context.classifier  # that hears the window in hand
        self._asked: tuple[LiveWindow, Features] | None = None  # the model's input
        self._ending: str | None = None  # why this step ends all events
        self._numbers: dict[str, int] = {}  # messages published about each open event
        self._private_until = 0  # frame at which the last window with a voice ended
        self._kept: list[tuple[str, int]] = []  # saved windows that may overlap the next, and ends

    # -- any thread ----------------------------------------------------------------------------

    def add(self, item: LiveWindow | str, put: Callable[[LiveJob], None]) -> LiveWindow | None:
        """Queue a window, or the end of all events; the oldest window if it had to be dropped."""
        with self._lock:
            self._waiting.append(item)
            dropped = None
            windows = [w for w in self._waiting if isinstance(w, LiveWindow)]
            if len(windows) > MAX_WAITING:
                dropped = windows[0]
                self._waiting.remove(dropped)
            if not self._in_line:
                self._in_line = True
                put(self)
        return dropped

    def go_by(self, rules: Events) -> None:
        """Judge events by other rules from the next window on."""
        self._tracker.rules = rules

    work = None  # microphones are not given up
    source_name = None
    heavy = False

    # -- a step, by one worker at a time -------------------------------------------------------

    def prepare(self) -> Float | None:
        with self._lock:
            item = self._waiting.popleft() if self._waiting else None
        self._asked = self._ending = None
        if not isinstance(item, LiveWindow):
            self._ending = item
            return None
        self.classifier = self._context.classifier
        try:
            with self._context.stage("features"):
                heard = self.classifier.hear(checked(item.samples), item.rate)
        except AudioError as error:
            self._lose(item, error)
            return None
        features = Features(*heard)
        self._asked = item, features
        return features.picture

    def finish(self, logits: Float | None, speech: float = 0.0) -> list[Delivery]:
        if self._ending is not None:
            return self._deliver([], self._tracker.end_all(self._ending))
        if self._asked is None or logits is None:
            return []
        window, features = self._asked
        try:
            judgement = judge(
                self.classifier,
                self._context.rules,
                logits,
                features.rms_dbfs,
                speech,
                self._source.kind,
            )
        except AudioError as error:
            self._lose(window, error)
            return []
        judgement, detections = self._confirm(window, judgement)
        message = self._predict(window, judgement)
        pictures = self._context.picture(message, features.picture)
        return self._deliver([message], detections, window.complete, pictures)

    def more(self) -> bool:
        with self._lock:
            self._in_line = bool(self._waiting)
            return self._in_line

    def close(self) -> None:
        pass

    def _lose(self, window: LiveWindow, error: AudioError) -> None:
        """A driver gave infinities: the window is a gap."""
        log.error("a window of %s cannot be classified: %s", self._source.name, error)
        lost = Loss(window.started, window.length_s, len(window.samples), "unusable")
        self._tell_gap(lost)

    def _confirm(
        self, window: LiveWindow, judgement: Judgement
    ) -> tuple[Judgement, list[Detection]]:
        """Feed the tracker: the judgement, rejected if no event confirms it, and what changed."""
        passed = judgement.decision == "accepted"
        heard = Heard(
            judgement.label,
            judgement.score,
            passed=passed,
            heeded=judgement.reason in (None, "below_threshold"),
            starts=window.started,
            ends=window.started + window.length_s,
        )
        confirmed, detections = self._tracker.hear(heard)
        if passed and not confirmed:
            judgement = msgspec.structs.replace(
                judgement, decision="rejected", reason="unconfirmed"
            )
        return judgement, detections

    def _predict(self, window: LiveWindow, judgement: Judgement) -> Prediction:
        audio = self._keep(window, judgement)
        length = window.length_s
        whole = self.classifier.checkpoint.features.window_s
        place = describe_window(
            window.index,
            window.start_s,
            window.start_s + length,
            max(0.0, whole - length),
            window.started,
            "capture",
        )
        return live_prediction(
            self._source, self._run_id, window.first_frame, place, judgement, audio
        )

    def _keep(self, window: LiveWindow, judgement: Judgement) -> str | UnsetType | None:
        """Path of the window's saved sound; None if it cannot be saved, UNSET if it is not to be.

        Windows overlap, so those that share a part with a private one are not kept either.
        """
        start, end = window.first_frame, window.first_frame + len(window.samples)
        self._kept = [(path, until) for path, until in self._kept if until > start]
        if judgement.private is True:
            self._private_until = max(self._private_until, end)
            for path, _ in self._kept:
                self._store.discard(path)
            self._kept.clear()
        accepted = judgement.decision == "accepted"
        if start < self._private_until or not self._store.wants(accepted):
            return UNSET
        saved = self._store.save(window.samples, window.rate, window.started, judgement.label)
        if saved is not None:
            self._kept.append((saved, end))
        return saved

    def _deliver(
        self,
        messages: list[Message],
        detections: list[Detection],
        noticed: float | None = None,
        pictures: Sequence[Picture] = (),
    ) -> list[Delivery]:
        rows = []
        for one in detections:
            self._numbers[one.id] = number = self._numbers.get(one.id, 0) + 1
            message = event(self._source, one, number)
            messages.append(message)
            if one.state == "end":
                del self._numbers[one.id]
                rows.append(OpenEvent(one.id, None))
            else:
                rows.append(OpenEvent(one.id, to_json(_Ongoing.of(message, number))))
        record = Record(messages, events=rows, noticed=noticed)
        return [Delivery(record, pictures=pictures)] if messages else []


def event(source: Source, one: Detection, number: int) -> Event:
    """The message about a detection; `number` counts the messages about it."""
    return Event(
        id=event_message_id(one.id, number, one.state),
        source=source,
        event_id=one.id,
        state=one.state,
        label=one.label,
        started_at=timestamp(one.started),
        heard_until=timestamp(one.heard),
        duration_s=round(one.heard - one.started, 3),
        peak_score=round(one.peak, 6),
        windows=one.windows,
        reason=one.reason,
    )


class _Ongoing(msgspec.Struct, frozen=True):
    """The last message about an open event, as the journal keeps it for the next start."""

    source: str
    number: int
    label: str
    started_at: str
    heard_until: str
    duration_s: float
    peak_score: float
    windows: int
    reason: str | None

    @classmethod
    def of(cls, message: Event, number: int) -> _Ongoing:
        return cls(
            message.source.name,
            number,
            message.label,
            message.started_at,
            message.heard_until,
            message.duration_s,
            message.peak_score,
            message.windows,
            message.reason,
        )

    def end(self, event_id: str) -> Event:
        """The message that ends the event after a kill."""
        return Event(
            id=event_message_id(event_id, self.number + 1, "end"),
            source=Source("mic", self.source),
            event_id=event_id,
            state="end",
            label=self.label,
            started_at=self.started_at,
            heard_until=self.heard_until,
            duration_s=self.duration_s,
            peak_score=self.peak_score,
            windows=self.windows,
            reason="restart",
        )


def end_left_open(rows: list[OpenEvent]) -> Record:
    """End the events that were open when the daemon was last killed."""
    messages = []
    for row in rows:
        assert row.body is not None
        try:
            messages.append(msgspec.json.decode(row.body, type=_Ongoing).end(row.id))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.error("event %s is damaged in the journal and gets no end: %s", row.id, error)
    return Record(messages, events=[replace(row, body=None) for row in rows])
