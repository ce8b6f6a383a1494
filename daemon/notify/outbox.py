"""Notifications on disk until they are delivered: each service has its own queue and pace."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from daemon.host.clock import SteadyClock
from daemon.host.keeping import Keeping
from daemon.notify.service import Attachment, Service

log = logging.getLogger(__name__)

PAUSE_S = (2.0, 120.0)  # before another try: the first, and the longest; it doubles
HANGS_S = 60.0  # for a service to take one; Apprise waits 4 s for each piece of an answer
MOST_THREADS = 8  # that deliver; those that hang do not count
MOST_HUNG = 32  # threads that hang, until no more is begun
STEP_S = 5.0  # of the system clock; gradual corrections are no step
CLOSE_S = 10.0  # for deliveries in progress at the end
MOST_NOTES = 100  # that wait for one service; with its sound, one has up to 4 MB
PREFIX = "note "  # begins the names of kept notes


class Note(Struct, frozen=True):
    """One notification to one service."""

    number: int
    rule: str
    service: int  # its number in the rule
    title: str
    text: str
    give_up: float  # s since 1970
    files: dict[str, bytes]  # attachments, by name

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.number:012}"


class _Lane:
    """A service, the notes that wait for it, and when to try again."""

    def __init__(self, rule: str, service: Service) -> None:
        self.rule, self.service = rule, service
        self.notes: deque[Note] = deque()
        self.pause, self.due = PAUSE_S[0], 0.0  # due: s since 1970
        self.sending: _Delivery | None = None  # of the first note


class _Delivery(threading.Thread):
    """One delivery in progress. One that hangs is left to itself, and ends with the process."""

    def __init__(self, service: Service, note: Note) -> None:
        super().__init__(name="notify", daemon=True)
        self._service, self._note = service, note
        self._began = time.monotonic()
        self._result: str | None = "the delivery failed"
        self.start()

    def run(self) -> None:
        files = [Attachment(name, content) for name, content in self._note.files.items()]
        self._result = self._service.send(self._note.title, self._note.text, files)

    @property
    def hangs(self) -> bool:
        return self.is_alive() and time.monotonic() > self._began + HANGS_S

    @property
    def over(self) -> bool:
        return self.hangs or not self.is_alive()

    @property
    def problem(self) -> str | None:
        """Why it failed, once it is over; None if it did not."""
        if self.is_alive():
            return f"the service has not answered for {HANGS_S:g} s"
        return self._result


class Outbox:
    """Notes in order. Threads only deliver; the rest belongs to the thread that made it.

    `report` is called with words when notes are given up.
    """

    def __init__(
        self, rules: Mapping[str, Sequence[Service]], kept: Keeping, report: Callable[[str], None]
    ) -> None:
        self._kept, self._report = kept, report
        self._lanes = {
            (rule, number): _Lane(rule, service)
            for rule, found in rules.items()
            for number, service in enumerate(found)
        }
        self._clock = SteadyClock()
        self._new: list[Note] = []  # that are not on disk yet
        self._done: list[str] = []  # names of those that are not needed there any more
        self._next = 1
        for name in kept.names(PREFIX):
            note = kept.get(name, Note)
            self._next = int(name.removeprefix(PREFIX)) + 1
            lane = None if note is None else self._lanes.get((note.rule, note.service))
            if note is None or lane is None:  # of a rule that the settings no longer have
                self._done.append(name)
            else:
                lane.notes.append(note)
        self._hung: list[_Delivery] = []

    def add(
        self, rule: str, title: str, text: str, give_up: float, files: dict[str, bytes]
    ) -> None:
        """A note for each service of the rule. `keep` writes it to disk."""
        for (name, number), lane in self._lanes.items():
            if name == rule:
                taken = files if lane.service.takes_files else {}
                note = Note(self._next, rule, number, title, text, give_up, taken)
                self._next += 1
                self._new.append(note)
                lane.notes.append(note)

    @property
    def changed(self) -> bool:
        """Whether the disk holds other notes than there are."""
        return bool(self._new or self._done)

    def keep(self, values: Mapping[str, object]) -> None:
        """Write the notes, and these values, in one transaction. Raises CannotKeep."""
        notes = {note.name: note for note in self._new if note.name not in self._done}
        self._kept.put({**values, **notes}, drop=self._done)
        self._new, self._done = [], []

    def work(self, now: float) -> None:
        """Take up results, give up old notifications, and send those that are due."""
        if step := self._clock.step(STEP_S):
            self._set_clock(step)
        for lane in self._lanes.values():
            if lane.sending is not None and lane.sending.over:
                if lane.sending.hangs:
                    self._hung.append(lane.sending)
                self._take(lane, lane.sending.problem, now)
            self._give_up(lane, now)
            if lane.sending is None and lane.notes and now >= lane.due and self._may_begin():
                self._begin(lane)

    def _set_clock(self, step: float) -> None:
        """The system clock was set, by so many s: no note has become older by that."""
        log.info("the system clock was set by %+.0f s", step)
        for lane in self._lanes.values():
            lane.due += step
            lane.notes = deque(replace(note, give_up=note.give_up + step) for note in lane.notes)
            self._new += lane.notes

    def _may_begin(self) -> bool:
        self._hung = [each for each in self._hung if each.is_alive()]
        busy = sum(lane.sending is not None for lane in self._lanes.values())
        return busy < MOST_THREADS and len(self._hung) < MOST_HUNG

    def _begin(self, lane: _Lane) -> None:
        try:
            lane.sending = _Delivery(lane.service, lane.notes[0])
        except RuntimeError as error:  # no thread can be started now
            lane.due = time.time() + lane.pause
            log.warning("%s: %s", lane.service.name, error)

    def _take(self, lane: _Lane, problem: str | None, now: float) -> None:
        lane.sending = None
        if problem is None:
            lane.pause, lane.due = PAUSE_S[0], 0.0
            self._done.append(lane.notes.popleft().name)
            return
        lane.due = now + lane.pause
        log.warning("%s: %s; trying again in %g s", lane.service.name, problem, lane.pause)
        lane.pause = min(PAUSE_S[1], 2 * lane.pause)

    def _give_up(self, lane: _Lane, now: float) -> None:
        count = 0
        first = [] if lane.sending is None else [lane.notes.popleft()]
        while lane.notes:
            if now <= lane.notes[0].give_up and len(lane.notes) + len(first) <= MOST_NOTES:
                break
            self._done.append(lane.notes.popleft().name)
            count += 1
        lane.notes.extendleft(first)
        if count:
            self._report(
                f"{count} notification{'s' if count > 1 else ''} of `{lane.rule}` could not be "
                f"delivered to {lane.service.name}, and will not be tried again"
            )

    def close(self) -> None:
        """Wait for deliveries in progress, for up to `CLOSE_S`."""
        deadline = time.monotonic() + CLOSE_S
        for lane in self._lanes.values():
            if lane.sending is not None:
                lane.sending.join(max(0.0, deadline - time.monotonic()))
                if lane.sending.problem is None:
                    self._done.append(lane.notes.popleft().name)
        if self._done:
            self.keep({})
