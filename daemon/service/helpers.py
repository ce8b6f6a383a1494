"""Helpers: subscribers in separate processes, which the daemon starts beside itself.

A helper may crash, hang or run out of memory: the daemon reports it and starts it again. It reads
the daemon's settings from standard input, so no secret is on a command line, and dies with the
daemon.
"""

from __future__ import annotations

import logging
import select
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, Unpack

import msgspec

from daemon.monitoring.service_thread import ServiceThread
from daemon.protocol.messages import Source, StatusDetails
from daemon.protocol.states import HelperState
from daemon.service.helper_process import Helper, HelperProcess, end_all
from daemon.settings.schema import Settings

log = logging.getLogger(__name__)

STEADY_S = 60.0  # of work after which the pause before the next restart is short again
PAUSE_S = (1.0, 60.0)  # before a restart: the first, and the longest; it doubles each time
CHECK_S = 0.5  # how soon an end and a request to stop are noticed
STALL_S = 60.0


class Say(Protocol):
    """Publishes a status."""

    def __call__(
        self, what: str, text: str, source: Source | None = None, **details: Unpack[StatusDetails]
    ) -> None: ...


def wanted(settings: Settings, publish: str, replay: str) -> list[Helper]:
    """The helpers that the settings ask for, one for each of these tables.

    `publish` and `replay` are the endpoints that the daemon has bound.
    """
    settings = msgspec.structs.replace(
        settings, publish=_reachable(publish), replay=_reachable(replay)
    )
    tables = {"page": settings.page, "mqtt": settings.mqtt, "notify": settings.notify}
    # -P keeps the working folder off the module path: it may hold a stranger's numpy.py.
    command = (sys.executable, "-P", "-m", "daemon")
    given = msgspec.json.encode(settings)
    shared = (settings.publish, settings.replay, settings.keys, settings.state, settings.log)
    return [
        Helper(name, (*command, name), table=(table, shared), settings=given)
        for name, table in tables.items()
        if table
    ]


def _reachable(endpoint: str) -> str:
    """An endpoint's address on this machine, also if it is bound to all addresses."""
    return endpoint.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


class Helpers(ServiceThread):
    """Starts the helpers, and again when they end. `states` may be read from any thread."""

    def __init__(self, helpers: Sequence[Helper], say: Say) -> None:
        super().__init__("helpers", STALL_S)
        self._say = say
        self._wanted = list(helpers)
        self._supervised: list[_Supervised] = []
        self._news = threading.Event()  # to stop, or other helpers

    @property
    def states(self) -> list[HelperState]:
        return [each.state for each in self._supervised]

    def others(self, helpers: Sequence[Helper]) -> list[Helper]:
        """Those of these that do not run yet, or with other settings. From any thread."""
        return [each for each in helpers if each not in self._wanted]

    def go_by(self, helpers: Sequence[Helper]) -> None:
        """Run these from now on; those that did not change run on undisturbed. From any thread."""
        self._wanted = list(helpers)
        self._news.set()

    def stop(self) -> None:
        super().stop()
        self._news.set()

    def work(self) -> None:
        """Supervise until stopped; then end all helpers, politely at first.

        The kernel ends a helper when the thread that started it ends, so they all belong to this
        one.
        """
        try:
            while not self._halt.is_set():
                self.liveness.progress()
                self._follow_settings()
                for each in self._supervised:
                    each.advance(self._halt.is_set)
                self.liveness.idle()
                self._wait()
        finally:
            end_all([each.child for each in self._supervised])

    def _follow_settings(self) -> None:
        goal = self._wanted
        if goal == [each.helper for each in self._supervised]:
            return
        staying = {each.helper.name: each for each in self._supervised if each.helper in goal}
        leaving = [each for each in self._supervised if each.helper not in goal]
        end_all([each.child for each in leaving])
        self._supervised = [
            staying.get(helper.name) or _Supervised(helper, self._say) for helper in goal
        ]

    def _wait(self) -> None:
        """Until a helper writes a line or ends, or for a moment."""
        outputs = [each.child.output for each in self._supervised if each.child is not None]
        open_ones = [each for each in outputs if not each.closed]
        if open_ones:
            poller = select.poll()
            for each in open_ones:
                poller.register(each, select.POLLIN)
            poller.poll(1000 * CHECK_S)
        else:
            self._news.wait(CHECK_S if self._supervised else None)
            if not self._halt.is_set():
                self._news.clear()


class _Supervised:
    """One helper, from one run of it to the next."""

    def __init__(self, helper: Helper, say: Say) -> None:
        self.helper, self._say = helper, say
        self.child: HelperProcess | None = None
        self._lost = False
        self._restarts = -1
        self._pause, self._due = PAUSE_S[0], 0.0  # due: time.monotonic()

    @property
    def state(self) -> HelperState:
        child = self.child
        ready = child is not None and child.ready is not None
        state = "running" if ready else "lost" if self._lost else "starting"
        pid = None if child is None else child.process.pid
        return HelperState(self.helper.name, state, pid, max(0, self._restarts))

    def advance(self, stopping: Callable[[], bool]) -> None:
        """Take the next step: start it, read its lines, or note its end."""
        if self.child is None:
            if time.monotonic() >= self._due:
                self._start()
            return
        was_ready = self.child.ready is not None
        self.child.listen()
        if self.child.ready is not None and not was_ready:
            self._note_ready(self.child.ready)
        for text in self.child.troubles:
            log.warning("%s: %s", self.helper.name, text)
            text = f"{self.helper.name}: {text}"
            self._say("helper_trouble", text, helper=self.helper.name)
        self.child.troubles.clear()
        if (end := self.child.end()) is not None and not stopping():
            self._note_end(*end)

    def _start(self) -> None:
        try:
            self.child = HelperProcess(self.helper)
        except OSError as error:
            self._note_end("cannot_start", f"it cannot be started: {error.strerror}")
        else:
            self._restarts += 1

    def _note_ready(self, text: str) -> None:
        log.info("%s: %s", self.helper.name, text)
        if self._lost:
            self._lost = False
            self._say("helper_back", f"{self.helper.name} is back", helper=self.helper.name)

    def _note_end(self, code: str, text: str) -> None:
        child, self.child = self.child, None
        if child is not None and child.ready is not None and child.age > STEADY_S:
            self._pause = PAUSE_S[0]
        self._due = time.monotonic() + self._pause
        log.error("%s: %s; it is started again in %.0f s", self.helper.name, text, self._pause)
        self._pause = min(PAUSE_S[1], 2 * self._pause)
        if not self._lost:
            self._lost = True
            text = f"{self.helper.name}: {text}"
            self._say("helper_lost", text, code=code, helper=self.helper.name)
