"""The daemon's life: start up, run until asked to stop, shut down."""

from __future__ import annotations

import gc
import logging
import signal
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from daemon.errors import Abandoned, DaemonError, StartError
from daemon.host.clock import SteadyClock
from daemon.host.systemd import is_managed, notify, reloading
from daemon.journal.records import Delivery, Record
from daemon.monitoring import logging as logs
from daemon.monitoring.signals import on_signals
from daemon.monitoring.status import RunIdentity
from daemon.service.components import Components, assemble
from daemon.service.inbox import Inbox, Request
from daemon.service.loaded_model import LoadedModel
from daemon.service.report import Report
from daemon.settings.reload import Rereading, compare, replace_live
from daemon.settings.schema import Settings

log = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
CLOCK_STEP_S = 2.0  # a smaller step of the clock between heartbeats is not reported
TICK_S = 0.5  # how soon requests and faults are noticed
REPEAT_S = 60.0  # between reports of a flood of strangers, which must not fill the journal
READY_S = 30.0  # for all the folders to be watched, but for those that hang


class Service:
    """One daemon. `run` returns when it has stopped as asked, and raises DaemonError otherwise."""

    def __init__(
        self,
        settings: Settings,
        read_again: Callable[[], Settings] | None = None,
        reload_on_hup: bool = False,
        last_check: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self._read_again = read_again  # for SIGHUP
        self._reload_on_hup = reload_on_hup
        self._last_check = last_check  # before any work begins; what it raises ends the start
        self._reload = threading.Event()
        self._rereading: Rereading[tuple[Settings, LoadedModel]] | None = None
        self.run_id = str(uuid.uuid4())
        self._stop = threading.Event()
        self._stop_reason = "asked to stop"
        self._fault: BaseException | None = None
        self._components: Components
        self._hurry: Callable[[], None] = lambda: None  # once there is something to hurry
        self._report = Report()
        self._clock = SteadyClock()
        self._crowd_reported_at = -REPEAT_S
        self._inbox: Inbox

    def stop(self, reason: str = "asked to stop") -> None:
        """Ask for an orderly stop; from any thread."""
        self._stop_reason = reason
        self._stop.set()
        self._hurry()

    def fail(self, error: BaseException) -> None:
        """Stop because a thread failed: half a daemon is useless. From any thread."""
        self._fault = error
        self.stop("a fault")

    def run(self, ready: Callable[[Settings, RunIdentity], None]) -> None:
        """Start, call `ready` when files are being taken, run until stopped, shut down."""
        self._handle_signals()
        with ExitStack() as stack:
            components = self._assemble(stack)
            self._last_check()
            try:
                components.start(stack, self.fail, lambda: self._stop_reason)
                self._begin(ready)
                self._loop()
            except Abandoned:
                log.warning("stopping although the journal cannot be written")
            finally:
                self._stop.set()
                log.info("stopping: %s", self._stop_reason)
                notify("STOPPING=1")
        if self._fault is not None:
            raise self._fault

    # -- start up ------------------------------------------------------------------------------

    def _assemble(self, stack: ExitStack) -> Components:
        try:
            components = assemble(stack, self.settings, self.run_id, self._report.status, self.fail)
            self._inbox = components.open_inbox(self.settings.state_path)
        except (OSError, ImportError) as error:
            # Out of descriptors or memory, or a disk that fails: another start may succeed.
            raise StartError(f"cannot start now: {error}") from error
        self._components, self._hurry = components, components.delivery.stop_waiting
        return components

    def _handle_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        deeds: dict[int, Callable[[], None]] = {
            number: partial(self.stop, number.name) for number in (signal.SIGTERM, signal.SIGINT)
        }
        if self._reload_on_hup or is_managed():
            deeds[signal.SIGHUP] = self._reload.set
        elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup(1) has it
            deeds[signal.SIGHUP] = partial(self.stop, "its terminal closed (SIGHUP)")
        on_signals(deeds)
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # a writer opened a file we had a lease on

    def _begin(self, ready: Callable[[Settings, RunIdentity], None]) -> None:
        components = self._components
        deadline = time.monotonic() + READY_S
        for source in components.sources:
            while not source.ready.wait(TICK_S) and time.monotonic() < deadline:
                if source.liveness.stalled:
                    break
        self._say_journal(components)
        components.post("started", "ready")
        self._beat()
        gc.freeze()  # so that no later collection goes through all that stays
        gc.enable()
        ready(self.settings, components.identity)
        notify("READY=1", f"STATUS=journal at seq {max(components.delivery.newest.values())}")

    def _say_journal(self, components: Components) -> None:
        if (aside := components.journal.set_aside) is not None:
            text = f"the journal was damaged; it is kept as {aside}, and a new one has begun"
            components.post("journal_replaced", text, file=str(aside))
        if components.journal.put_back:
            text = "the journal was put back to an earlier state; it has a new UUID"
            components.post("journal_put_back", text)

    # -- running -------------------------------------------------------------------------------

    def _loop(self) -> None:
        next_beat = time.monotonic() + HEARTBEAT_S
        while not self._stop.wait(TICK_S):
            self._components.watch_for_hung()
            self._take_requests()
            self._check_keys()
            self._check_crowd()
            self._pass_on_notices()
            self._read_settings()
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + HEARTBEAT_S
                self._check_clock()
                self._beat()
                self._components.rest.look()

    def _pass_on_notices(self) -> None:
        notices = self._components.delivery.notices
        while not notices.empty():
            self._components.post(*notices.get())

    def _take_requests(self) -> None:
        if self._components.delivery.blocked:
            return
        for request in self._inbox.take():
            log.info("classifying %d files again, as asked", len(request.paths))
            record = Record(forget=request.paths)
            self._components.delivery.post(Delivery(record, partial(self._look_again, request)))

    def _look_again(self, request: Request) -> None:
        """The ledger has forgotten the files of a request; called from the delivery thread."""
        request.done()
        for path in request.paths:
            for source in self._components.folders:
                if path.startswith(source.root.rstrip(b"/") + b"/"):
                    source.look(path)

    def _check_keys(self) -> None:
        """Drop connections whose key was taken away."""
        authenticator = self._components.endpoints.authenticator
        if authenticator is not None and authenticator.lost_keys():
            log.info("a subscriber's key was removed; all subscribers must show theirs again")
            self._components.endpoints.drop_all()

    def _check_crowd(self) -> None:
        """Report that connections came near the limit of descriptors, and were ended."""
        crowds = self._components.endpoints.door.crowds
        while not crowds.empty():
            count, address = crowds.get()
            whose = f"those of {address}" if address else "those on Unix sockets"
            text = f"{count} connections are too many: {whose} were closed; subscribers reconnect"
            log.error("%s", text)
            if time.monotonic() > self._crowd_reported_at + REPEAT_S:
                self._crowd_reported_at = time.monotonic()
                self._components.post("crowded", text, connections=count)

    def _check_clock(self) -> None:
        """Report a step of the system's clock, which times in messages follow."""
        step = self._clock.step(CLOCK_STEP_S)
        if step:
            way = "forward" if step > 0 else "back"
            text = f"the system's clock was set {way} by {abs(step):.1f} s"
            log.warning("%s", text)
            self._components.post("clock_set", text, step_s=round(step, 3))

    def _read_settings(self) -> None:
        """SIGHUP: apply the changes that a running daemon can apply, and report the others."""
        try:
            if self._reload.is_set():
                self._reload.clear()
                reloading()
                self._rereading = Rereading(self._read_all)
            if self._rereading is None or (found := self._rereading.result(TICK_S / 2)) is None:
                return
            self._go_by(*found)
        except Exception as error:
            # Whatever fault the new settings have, the daemon keeps the old ones.
            log.error(
                "the settings stay as they were: %s",
                error,
                exc_info=None if isinstance(error, DaemonError) else error,
            )
            self._components.post("reload_failed", f"the settings stay as they were: {error}")
        self._rereading = None
        notify("READY=1")

    def _read_all(self) -> tuple[Settings, LoadedModel]:
        """The settings as they are now, and the model that they name."""
        new = self.settings if self._read_again is None else self._read_again()
        return new, self._components.check(new)

    def _go_by(self, new: Settings, model: LoadedModel) -> None:
        new_model = model.classifier is not self._components.context.classifier
        changes = compare(self.settings, new, new_model)
        self.settings = replace_live(self.settings, new)
        self._components.apply(self.settings, model)
        log.info("%s", changes.describe())
        self._components.post(
            "reloaded",
            changes.describe(),
            applied=list(changes.applied),
            restart=list(changes.restart),
        )

    def _beat(self) -> None:
        logs.tell_left_out()
        stalled = self._components.stalled()
        if stalled:
            log.error("no progress in %s", ", ".join(stalled))
        else:
            notify("WATCHDOG=1")
        self._components.delivery.beat(self._report.heartbeat(self._components))
