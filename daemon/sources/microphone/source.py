"""A microphone or network stream: supervise its capture process, cut windows, report losses.

Each of them has a thread. It reads the stream of the capture process; if that process fails,
stalls or hangs, the thread kills it and starts another, with growing pauses, until the daemon
stops.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path

from daemon.host.clock import clock
from daemon.journal.records import Delivery, Record
from daemon.monitoring.service_thread import ServiceThread
from daemon.monitoring.waking import Waker
from daemon.pipeline.clip_store import ClipStore
from daemon.pipeline.job import JobContext
from daemon.pipeline.live_job import LiveJob, LiveWindow
from daemon.pipeline.queue import JobQueue
from daemon.protocol.events import Tracker
from daemon.protocol.messages import Loss, Source, gap
from daemon.protocol.states import MicrophoneState
from daemon.settings.schema import Events, Microphone, Stream
from daemon.sources.microphone.framing import Block, Failure, Hello, Item, Missed
from daemon.sources.microphone.level import SILENT_S, LevelMeter
from daemon.sources.microphone.process import CaptureFailed, CaptureProcess
from daemon.sources.microphone.stream_clock import StreamClock
from daemon.sources.microphone.windowing import Cutter, Piece

log = logging.getLogger(__name__)

BACKOFF_S = (1.0, 30.0)  # between attempts: the first pause and the longest
PROGRESS_S = 120.0  # without progress until this thread counts as hung


class MicrophoneSource(ServiceThread):
    """One `[[microphone]]` or `[[stream]]`. `say` publishes a status."""

    def __init__(
        self,
        settings: Microphone | Stream,
        events: Events,
        state: Path,
        run_id: str,
        jobs: JobQueue,
        context: JobContext,
        say: Callable[..., None],
    ) -> None:
        self._kind = "stream" if isinstance(settings, Stream) else "microphone"
        super().__init__(f"{self._kind}-{settings.name}", PROGRESS_S)
        self.settings = settings
        self._title = f"{self._kind} {settings.name}"  # in texts
        self._run_id, self._jobs, self._context, self._say = run_id, jobs, context, say
        self._source = Source("mic", settings.name)
        store = ClipStore(state, settings)
        self._job = LiveJob(self._source, run_id, context, Tracker(events), store, self._tell_gap)
        self._waker = Waker()
        self._device = settings.device  # pinned once a default one was opened
        self._stuck: CaptureProcess | None = None  # killed, but not ended yet
        self._clock: StreamClock | None = None
        self._cutter: Cutter | None = None
        self._frames = 0  # of the run before this stream, including lost ones
        self._run_began: float | None = None  # clock() at the first frame of the run's first window
        self._windows = 0
        self._gap_numbers, self._gaps = count(1), 0
        self._heard_until = clock()  # of the last sample in a window, or the start
        self._outage: str | None = None  # why there is no sound
        self._level = LevelMeter()
        self.state = "starting"  # then hearing or lost
        self.ready = threading.Event()  # after the first attempt: files need not wait longer
        if isinstance(settings, Stream):  # a server that is away must not delay the start
            self.ready.set()

    # -- any thread ----------------------------------------------------------------------------

    def stop(self) -> None:
        super().stop()
        self._waker.wake()

    waiting = 0  # windows of a microphone are no backlog

    def go_by(self, rules: Events) -> None:
        """Judge events by other rules from the next window on."""
        self._job.go_by(rules)

    def snapshot(self) -> MicrophoneState:
        """What `status` and the heartbeat say of this source."""
        return MicrophoneState(
            name=self.settings.name,
            device=self._device or None,
            state=self.state,
            degraded=self._outage,
            silent=self._level.silent,
            level_dbfs=round(self._level.dbfs, 1),
            gaps=self._gaps,
        )

    # -- this thread ---------------------------------------------------------------------------

    def work(self) -> None:
        with self._waker.waiting():
            self._listen_on()
            self._break_off()
            self._end_events("stopped")

    def _listen_on(self) -> None:
        """Listen, and after each failure again, until the daemon stops."""
        pause = BACKOFF_S[0]
        while not self._halt.is_set():
            self.liveness.progress()
            began = time.monotonic()
            try:
                self._listen()
            except CaptureFailed as failure:
                self._break_off(mine=failure.code != "moved")
                self._lose(failure)
            self.ready.set()
            if time.monotonic() - began > BACKOFF_S[1]:
                pause = BACKOFF_S[0]
            self._halt.wait(pause)
            pause = min(2 * pause, BACKOFF_S[1])

    def _listen(self) -> None:
        """Run one capture process until the daemon stops. Raises CaptureFailed."""
        if self._stuck is not None and not self._stuck.ended:
            raise CaptureFailed("stuck", f"process {self._stuck.pid} hangs in its driver")
        with CaptureProcess(self.settings, self._device) as capture:
            self._stuck = capture
            for items in capture.items(wake=self._waker.fileno()):
                self.liveness.progress()
                for item in items:
                    self._take(item)

    def _take(self, item: Item) -> None:
        match item:
            case Hello():
                self._open(item)
            case Block():
                self._hear(item)
            case Missed(frames):
                self._skip(frames)
            case Failure(code, text):
                raise CaptureFailed(code, text)

    def _open(self, hello: Hello) -> None:
        self._device = hello.device
        self._clock = StreamClock(hello.rate)
        window_s = self._context.classifier.checkpoint.features.window_s
        self._cutter = Cutter(hello.rate, window_s, self.settings.hop, self._frames)

    def _hear(self, block: Block) -> None:
        assert self._clock is not None
        assert self._cutter is not None
        first = self._clock.offset is None
        loss = self._clock.block(block.at, len(block.samples), block.overflow)
        if first:
            self._come_back(self._clock.when(0))
        if loss is not None:
            self._tell_lost(loss.after, loss.frames, "lost_frames")
            self._pass_on(self._cutter.lose(self._frames + loss.after, loss.frames))
        if self._level.feed(block.samples, self._clock.rate):
            self._tell_silence()
        self._pass_on(self._cutter.feed(block.samples))

    def _skip(self, frames: int) -> None:
        """Handle a known number of lost frames."""
        assert self._clock is not None
        assert self._cutter is not None
        if self._clock.offset is not None:
            self._tell_lost(self._clock.frames, frames, "capture_overflow")
        self._clock.missed(frames)
        self._pass_on(self._cutter.lose(self._cutter.end, frames))

    def _break_off(self, mine: bool = True) -> None:
        """End a stream: classify the rest of its last window, unless another device gave it."""
        if self._clock is not None and self._cutter is not None and self._clock.frames:
            if mine:
                self._pass_on(self._cutter.finish())
            self._heard_until = self._clock.when(self._cutter.reached - self._frames)
            self._frames += self._clock.frames
        self._clock = self._cutter = None
        self._level.restart()

    def _pass_on(self, pieces: Iterable[Piece]) -> None:
        assert self._clock is not None
        rate = self._clock.rate
        for piece in pieces:
            began = self._clock.when(piece.start - self._frames)
            length = len(piece.samples) / rate
            if self._run_began is None:
                self._run_began = began
            # Latency uses the same clock as everything else.
            age = clock() - (began + length)
            window = LiveWindow(
                index=self._windows,
                first_frame=piece.start,
                samples=piece.samples,
                rate=rate,
                started=_utc(began),
                start_s=began - self._run_began,
                complete=time.monotonic() - age,
            )
            self._windows += 1
            dropped = self._job.add(window, self._jobs.put_live)
            if dropped is not None:
                seconds = min(self.settings.hop, len(dropped.samples) / dropped.rate)
                frames = round(seconds * dropped.rate)
                self._tell_gap(Loss(dropped.started, seconds, frames, "overload"))

    def _tell_silence(self) -> None:
        if not self._level.silent:
            log.info("%s is heard again", self._title)
            self._say("mic_heard", f"{self._title} is heard", self._source)
            return
        log.warning("%s gives exact zeros", self._title)
        self._say(
            "mic_silent",
            f"{self._title} has given exact zeros for {SILENT_S:g} s: it is muted, unplugged "
            "or not allowed to be heard",
            self._source,
        )

    # Losing it and getting it back

    def _lose(self, failure: CaptureFailed) -> None:
        self.state = "lost"
        if self._outage is None:
            log.error("%s is lost: %s", self._title, failure)
            self._say("source_lost", str(failure), self._source, code=failure.code)
            self._end_events("source_lost")
        elif str(failure) != self._outage:
            log.warning("%s is still lost: %s", self._title, failure)
        self._outage = str(failure)

    def _come_back(self, at: float) -> None:
        """Handle the first sound of a stream, captured at `clock()` time `at`."""
        self.state = "hearing"
        self.ready.set()
        if self._outage is None:
            return
        self._outage = None
        log.info("%s is back", self._title)
        self._say("source_back", f"{self._title} is heard again", self._source)
        assert self._clock is not None
        seconds = max(0.0, at - self._heard_until)
        frames = round(seconds * self._clock.rate)
        self._tell_gap(Loss(_utc(self._heard_until), seconds, frames, "source_lost"))

    def _tell_lost(self, after: int, frames: int, reason: str) -> None:
        """Publish a gap of `frames` after frame `after` of this stream."""
        assert self._clock is not None
        seconds = frames / self._clock.rate
        self._tell_gap(Loss(_utc(self._clock.when(after)), seconds, frames, reason))

    def _tell_gap(self, lost: Loss) -> None:
        """Publish a gap; from any thread."""
        number = next(self._gap_numbers)
        self._gaps = number
        log.warning("%.3f s of %s were lost: %s", lost.duration_s, self.settings.name, lost.reason)
        message = gap(self._source, self._run_id, number, lost)
        self._context.deliver(Delivery(Record([message])))

    def _end_events(self, reason: str) -> None:
        self._job.add(reason, self._jobs.put_live)


def _utc(at: float) -> float:
    """Convert a `clock()` time to seconds since 1970, by both clocks' current times."""
    return time.time() - clock() + at
