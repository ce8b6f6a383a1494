"""The daemon's life: start up, run until told to stop, shut down. Each is a page."""

from __future__ import annotations

import itertools
import logging
import signal
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from daemon.delivery.endpoint import Endpoint
from daemon.delivery.publisher import Heartbeat, Upkeep
from daemon.errors import DaemonError
from daemon.host.clock import SteadyClock
from daemon.host.systemd import notify, reloading
from daemon.journal.records import Abandoned, Delivery, Record
from daemon.monitoring import logging as logs
from daemon.monitoring.status import Identity, Rate
from daemon.protocol.messages import Source, status
from daemon.service.components import Parts, build
from daemon.service.inbox import Inbox
from daemon.settings.reload import compare, replace_live
from daemon.settings.schema import Settings

log = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
CLOCK_STEP_S = 2.0  # that the clock is set by between heartbeats, for it to be told of
TICK_S = 0.5  # how soon requests and faults are noticed
TELL_AGAIN_S = 60.0  # that strangers crowd in: their flood is not to fill the journal
READY_S = 30.0  # for the folders to be watched


class Service:
    """One daemon. `run` returns when it has stopped as asked, and raises DaemonError otherwise."""

    def __init__(
        self, settings: Settings, read_again: Callable[[], Settings] | None = None
    ) -> None:
        self.settings = settings
        self._read_again = read_again  # for SIGHUP
        self._reload = threading.Event()
        self.run_id = str(uuid.uuid4())
        self._stop = threading.Event()
        self._stop_reason = "asked to stop"
        self._fault: BaseException | None = None
        self._statuses = itertools.count(1)
        self._parts: Parts
        self._hurry: Callable[[], None] = lambda: None  # once there is something to hurry
        self._rate = Rate()
        self._clock = SteadyClock()
        self._crowd_told_at = -TELL_AGAIN_S
        self._inbox = Inbox(settings.state_path)

    def stop(self, reason: str = "asked to stop") -> None:
        """Ask for an orderly stop; from any thread or a signal handler."""
        self._stop_reason = reason
        self._stop.set()
        self._hurry()

    def run(self, ready: Callable[[Settings, Identity], None]) -> None:
        """Start, call `ready` when files are being taken, run until stopped, shut down."""
        self._handle_signals()
        parts = build(self.settings, self.run_id, self._say, self.status)
        self._parts, self._hurry = parts, parts.delivery.stop_waiting
        try:
            parts.start(self._guarded)
            for source in parts.sources:
                source.ready.wait(READY_S)
            self._say_journal(parts)
            self._say("started", "ready")
            self._beat()
            ready(self.settings, parts.identity)
            notify("READY=1", f"STATUS=journal at seq {max(parts.delivery.newest.values())}")
            self._loop()
        except Abandoned:
            log.warning("stopping although the journal cannot be written")
        finally:
            self._shut_down()
        if self._fault is not None:
            raise self._fault

    # -- start up ------------------------------------------------------------------------------

    def _handle_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda n, _: self.stop(signal.Signals(n).name))
        signal.signal(signal.SIGHUP, lambda *_: self._reload.set())
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # a writer opened a file we had a lease on

    def _say_journal(self, parts: Parts) -> None:
        if (aside := parts.set_aside) is not None:
            text = f"the journal was damaged; it is kept as {aside}, and a new one has begun"
            self._say("journal_replaced", text, file=str(aside))

    def _guarded(self, target: Callable[..., None]) -> Callable[..., None]:
        """A thread that fails ends the daemon, with the reason: half a daemon helps nobody."""

        def run(*args: Any) -> None:
            try:
                target(*args)
            except Abandoned:
                pass
            except BaseException as error:
                log.exception("%s failed", threading.current_thread().name)
                self._fault = error
                self.stop("a fault")

        return run

    # -- running -------------------------------------------------------------------------------

    def _loop(self) -> None:
        next_beat = time.monotonic() + HEARTBEAT_S
        while not self._stop.wait(TICK_S):
            self._take_requests()
            self._check_keys()
            self._check_crowd()
            if self._reload.is_set():
                self._reload.clear()
                self._read_settings()
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + HEARTBEAT_S
                self._check_clock()
                self._beat()

    def _take_requests(self) -> None:
        for request in self._inbox.take():
            log.info("classifying %d files again, as asked", len(request.paths))

            def on_record(request: Any = request) -> None:
                request.done()
                for path in request.paths:
                    for source in self._parts.folders:
                        if path.startswith(source.root.rstrip(b"/") + b"/"):
                            source.look(path)

            for path in request.paths[:-1]:
                self._parts.delivery.put(Delivery(Record(forget=path)))
            last = request.paths[-1] if request.paths else None
            self._parts.delivery.put(Delivery(Record(forget=last), on_record))

    def _check_keys(self) -> None:
        """A key that was taken away stops working for those connected already, too."""
        gate = self._parts.endpoints.gate
        if gate is not None and gate.lost_keys():
            log.info("a subscriber's key was taken away; all have to show theirs again")
            self._tend(Endpoint.renew)

    def _check_crowd(self) -> None:
        """Connections must not take the descriptors that files and the journal need."""
        visitors = self._parts.endpoints.visitors
        if not visitors.crowded:
            return
        count = visitors.connections
        text = f"{count} connections are too many: all were dropped; subscribers come back"
        log.error("%s", text)
        self._tend(Endpoint.renew)
        if time.monotonic() > self._crowd_told_at + TELL_AGAIN_S:
            self._crowd_told_at = time.monotonic()
            self._say("crowded", text, connections=count)

    def _check_clock(self) -> None:
        """Times in messages follow the system's clock: who goes by them has to know."""
        step = self._clock.step(CLOCK_STEP_S)
        if step:
            way = "forward" if step > 0 else "back"
            text = f"the system's clock was set {way} by {abs(step):.1f} s"
            log.warning("%s", text)
            self._say("clock_set", text, step_s=round(step, 3))

    def _tend(self, work: Callable[[Endpoint], None]) -> None:
        self._parts.delivery.put(Upkeep(work))
        self._parts.replay.put(Upkeep(work))

    def _read_settings(self) -> None:
        """SIGHUP: apply what can be applied, and say what cannot."""
        reloading()
        try:
            new = self.settings if self._read_again is None else self._read_again()
            self._parts.check(new)
        except DaemonError as error:
            log.error("the settings stay as they were: %s", error)
            self._say("reload_failed", f"the settings stay as they were: {error}")
        else:
            changes = compare(self.settings, new)
            self.settings = replace_live(self.settings, new)
            self._parts.apply(self.settings)
            log.info("%s", changes.describe())
            self._say(
                "reloaded",
                changes.describe(),
                applied=list(changes.applied),
                restart=list(changes.restart),
            )
        notify("READY=1")

    def _beat(self) -> None:
        logs.tell_left_out()
        stalled = self._parts.stalled()
        if stalled:
            log.error("no progress in %s", ", ".join(stalled))
        else:
            notify("WATCHDOG=1")
        delivery = self._parts.delivery
        self._rate.sample(self._parts.tally.messages["prediction"])
        fields = {
            "run_id": self.run_id,
            "node": self.settings.node,
            "sources": [source.snapshot() for source in self._parts.sources],
            "backlog": self._backlog(),
            "blocked": delivery.blocked,
        }
        delivery.offer(Heartbeat(fields))

    def _backlog(self) -> dict[str, int]:
        waiting = sum(source.waiting for source in self._parts.sources)
        return {"files": waiting, "messages": self._parts.delivery.waiting}

    def _say(self, what: str, text: str, source: Source | None = None, **details: Any) -> None:
        message = status(self.run_id, next(self._statuses), what, text, source, **details)
        self._parts.delivery.put(Delivery(Record([message])))

    def status(self) -> dict[str, Any]:
        """What `tinyastd status` prints."""
        delivery, replay = self._parts.delivery, self._parts.replay
        return {
            **self._parts.identity.fields(),
            "sources": [source.snapshot() for source in self._parts.sources],
            "backlog": self._backlog(),
            "blocked": delivery.blocked,
            "last": delivery.newest,
            "published": dict(self._parts.tally.messages),
            "progress": round(self._parts.tally.progress, 3),
            "journal_bytes": self._parts.delivery.journal_bytes,
            "windows_per_second": self._rate.per_second,
            "replays": {"answered": replay.answered, "refused": replay.refused},
            "connections": self._parts.endpoints.visitors.snapshot(),
            "jobs": self._parts.jobs.depths(),
        }

    # -- shut down -----------------------------------------------------------------------------

    def _shut_down(self) -> None:
        """Sources first, then the windows in hand, then what they found, then the sockets."""
        log.info("stopping: %s", self._stop_reason)
        notify("STOPPING=1")
        parts = self._parts
        self._stop.set()
        parts.finish_work()
        try:
            self._say("stopping", self._stop_reason)
        except Abandoned:
            log.warning("could not say that it stops")
        parts.finish_delivery()
