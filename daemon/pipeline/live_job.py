"""Live windows of one microphone on their way to messages, in order, before all files."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

from daemon.journal.records import Delivery, OpenEvent, Record
from daemon.pipeline.clip_store import Store
from daemon.pipeline.events import Event, Heard, Tracker
from daemon.pipeline.job import JobContext, Step
from daemon.pipeline.prediction import judge
from daemon.protocol.messages import (
    Gap,
    Message,
    Source,
    event,
    live_prediction,
    timestamp,
    to_json,
)
from daemon.settings.schema import Events
from tinyast.arrays import Float
from tinyast.audio.decoding import checked
from tinyast.errors import AudioError

log = logging.getLogger(__name__)

MAX_WAITING = 12  # windows; beyond that live audio cannot be kept up with


@dataclass(frozen=True, eq=False)
class LiveWindow:
    """Five seconds from a microphone, or less where the stream broke off."""

    index: int  # counts this run's windows
    first_frame: int  # counts this run's frames
    samples: Float  # mono at the device's rate
    rate: int  # Hz
    started: float  # s since 1970, of the first sample
    start_s: float  # s since the run's first frame was captured
    complete: float  # time.monotonic() when the last sample was captured


class LiveJob:
    """A `Job` that is there as long as its microphone, and put in line when it has windows."""

    steps = 0

    def __init__(
        self,
        source: Source,
        run_id: str,
        context: JobContext,
        tracker: Tracker,
        store: Store,
        tell_gap: Callable[[Gap], None],
    ) -> None:
        self._source, self._run_id, self._context = source, run_id, context
        self._tracker, self._store, self._tell_gap = tracker, store, tell_gap
        self._waiting: deque[LiveWindow | str] = deque()  # a string: why what goes on ends
        self._lock = threading.Lock()
        self._in_line = False
        self._numbers: dict[str, int] = {}  # messages said of each open event

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

    def step(self) -> Step:
        with self._lock:
            item = self._waiting.popleft() if self._waiting else None
        if isinstance(item, LiveWindow):
            yield from self._classify(item)
        elif item is not None:
            self._deliver([], self._tracker.end_all(item))
        with self._lock:
            self._in_line = bool(self._waiting)
            return self._in_line

    def close(self) -> None:
        pass

    def go_by(self, rules: Events) -> None:
        """Judge events by other rules from the next window on."""
        self._tracker.rules = rules

    def _classify(self, window: LiveWindow) -> Generator[Float, Float, None]:
        classifier = self._context.classifier
        length = len(window.samples) / window.rate
        try:
            with self._context.stage("features"):
                picture, level = classifier.hear(checked(window.samples), window.rate)
            logits = yield picture
            body = judge(classifier, self._context.rules, logits, level)
        except AudioError as error:
            # A driver that gives infinities: there is nothing else to be said of this window.
            log.error("a window of %s cannot be classified: %s", self._source.name, error)
            self._tell_gap(Gap(window.started, length, len(window.samples), "unusable"))
            return
        passed = body["decision"] == "accepted"
        heard = Heard(
            body["label"],
            body["score"],
            passed=passed,
            heeded=body["reason"] in (None, "below_threshold"),
            starts=window.started,
            ends=window.started + length,
        )
        confirmed, events = self._tracker.hear(heard)
        if passed and not confirmed:
            body |= {"decision": "rejected", "reason": "unconfirmed"}
        if self._store.wants(confirmed):
            body["audio"] = self._store.save(
                window.samples, window.rate, window.started, body["label"]
            )
        body["window"] = {
            "index": window.index,
            "start_s": round(window.start_s, 6),
            "end_s": round(window.start_s + length, 6),
            "padded_s": round(max(0.0, classifier.checkpoint.features.window_s - length), 6),
            "started_at": timestamp(window.started),
            "clock": "capture",
        }
        message = live_prediction(
            self._source, self._run_id, window.first_frame, body, window.complete
        )
        self._deliver([message], events)

    def _deliver(self, messages: list[Message], events: list[Event]) -> None:
        rows = []
        for one in events:
            self._numbers[one.id] = number = self._numbers.get(one.id, 0) + 1
            body = event_body(one)
            messages.append(event(self._source, one.id, one.state, number, body))
            if one.state == "end":
                del self._numbers[one.id]
                rows.append(OpenEvent(one.id, None))
            else:
                kept: dict[str, Any] = {"source": self._source.name, "number": number, **body}
                rows.append(OpenEvent(one.id, to_json(kept)))
        if messages:
            self._context.deliver(Delivery(Record(messages, events=rows)))


def event_body(one: Event) -> dict[str, Any]:
    """What a message says of an event."""
    return {
        "label": one.label,
        "started_at": timestamp(one.started),
        "heard_until": timestamp(one.heard),
        "duration_s": round(one.heard - one.started, 3),
        "peak_score": round(one.peak, 6),
        "windows": one.windows,
        "reason": one.reason,
    }


def end_left_open(rows: list[OpenEvent]) -> Record:
    """What ends the events that went on when the daemon was last killed."""
    import msgspec

    messages = []
    for row in rows:
        assert row.body is not None
        body = msgspec.json.decode(row.body)
        source, number = Source("mic", body.pop("source")), body.pop("number")
        ended = {**body, "reason": "restart"}
        messages.append(event(source, row.id, "end", number + 1, ended))
    return Record(messages, events=[replace(row, body=None) for row in rows])
