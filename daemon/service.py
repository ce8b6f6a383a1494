"""The daemon's life: start up, run until told to stop, shut down. Each is a page."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.decision import check_known, check_labels
from daemon.delivery import Abandoned, Delivery, DeliveryThread, Heartbeat, Renewal
from daemon.errors import StartError
from daemon.filejob import Bench
from daemon.folder import FolderSource
from daemon.jobs import JobQueue
from daemon.journal import Journal, Record
from daemon.keys import load_server
from daemon.livejob import end_left_open
from daemon.locks import Lock
from daemon.messages import Source, status
from daemon.microphone import MicrophoneSource
from daemon.predictions import Rules
from daemon.recorded import zone
from daemon.replay import ReplayThread
from daemon.requests import Inbox
from daemon.settings import Settings
from daemon.sockets import Endpoints, bind
from daemon.status import Identity, Rate
from tinyast.classifier import Classifier
from tinyast.errors import CheckpointError

log = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
TICK_S = 0.5  # how soon requests and faults are noticed
ROOM_PER_WORKER = 8  # claimed files waiting for each worker; the others wait on disk
READY_S = 30.0  # for the folders to be watched


@dataclass
class _Parts:
    """Everything that was started, in the order of starting."""

    lock: Lock
    endpoints: Endpoints
    delivery: DeliveryThread
    replay: ReplayThread
    jobs: JobQueue
    folders: list[FolderSource]
    microphones: list[MicrophoneSource]
    workers: list[threading.Thread]
    set_aside: Path | None  # a damaged journal

    @property
    def sources(self) -> list[FolderSource | MicrophoneSource]:
        return [*self.folders, *self.microphones]


class Service:
    """One daemon. `run` returns when it has stopped as asked, and raises DaemonError otherwise."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.run_id = str(uuid.uuid4())
        self._stop = threading.Event()
        self._stop_reason = "asked to stop"
        self._fault: BaseException | None = None
        self._statuses = 0
        self._rate = Rate()
        self._inbox = Inbox(settings.state_path)

    def stop(self, reason: str = "asked to stop") -> None:
        """Ask for an orderly stop; from any thread or a signal handler."""
        self._stop_reason = reason
        self._stop.set()

    def run(self, ready: Callable[[Settings, Identity], None]) -> None:
        """Start, call `ready` when files are being taken, run until stopped, shut down."""
        self._handle_signals()
        parts = self._start()
        try:
            for source in parts.sources:
                source.ready.wait(READY_S)
            self._say_journal(parts)
            self._say("started", "ready")
            self._beat()
            ready(self.settings, self._identity)
            self._loop()
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
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # a writer opened a file we had a lease on

    def _start(self) -> _Parts:
        settings = self.settings
        _check_folders(settings)
        state = _make_state(settings.state_path)
        lock = Lock(state / "lock", f"state directory {state}")
        try:
            classifier = _load_classifier(settings)
            keys = None if settings.keys_path is None else load_server(settings.keys_path)
            endpoints = bind(settings.publish, settings.replay, settings.insecure, keys)
        except BaseException:
            lock.release()
            raise
        try:
            journal = Journal(state, settings.node, self.run_id)
        except BaseException:
            endpoints.close()
            lock.release()
            raise
        self._identity = Identity(
            settings.node,
            self.run_id,
            journal.uuid,
            endpoints.publisher.address,
            endpoints.router.address,
            str(state),
            _describe(classifier),
            settings.worker_count,
        )
        return self._start_threads(state, lock, endpoints, journal, classifier)

    def _say_journal(self, parts: _Parts) -> None:
        if (aside := parts.set_aside) is not None:
            text = f"the journal was damaged; it is kept as {aside}, and a new one has begun"
            self._say("journal_replaced", text, file=str(aside))

    def _start_threads(
        self,
        state: Path,
        lock: Lock,
        endpoints: Endpoints,
        journal: Journal,
        classifier: Classifier,
    ) -> _Parts:
        settings = self.settings
        delivery = DeliveryThread(journal, endpoints.publisher, settings.journal)
        replay = ReplayThread(state, endpoints.router, journal.uuid, self.status)
        jobs = JobQueue(ROOM_PER_WORKER * settings.worker_count)
        rules = Rules(
            settings.decision, settings.audio.hop, settings.audio.max_duration, settings.top
        )
        bench = Bench(classifier, rules, delivery.put)
        folders = [
            FolderSource(folder, state, jobs, bench, self._say) for folder in settings.folder
        ]
        microphones = [
            MicrophoneSource(
                microphone, settings.events, state, self.run_id, jobs, bench, self._say
            )
            for microphone in settings.microphone
        ]
        workers = [
            threading.Thread(target=self._guarded(self._work), args=(jobs,), name=f"worker-{n}")
            for n in range(settings.worker_count)
        ]
        left_open = end_left_open(journal.open_events())
        # Before any thread starts: a request for status may have been waiting since the bind.
        parts = _Parts(
            lock,
            endpoints,
            delivery,
            replay,
            jobs,
            folders,
            microphones,
            workers,
            journal.set_aside,
        )
        self._parts = parts
        for thread in (delivery, replay, *parts.sources):
            thread.run = self._guarded(thread.run)  # type: ignore[method-assign]
        if endpoints.gate is not None:
            endpoints.gate.run = self._guarded(endpoints.gate.run)  # type: ignore[method-assign]
            endpoints.gate.start()
        delivery.start()
        delivery.put(Delivery(left_open))  # what a kill left open ends before anything else
        for each in (replay, *workers, *parts.sources):
            each.start()
        return parts

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

    def _work(self, jobs: JobQueue) -> None:
        while (turn := jobs.get()) is not None:
            jobs.give_back(turn, turn.job.step())

    # -- running -------------------------------------------------------------------------------

    def _loop(self) -> None:
        next_beat = time.monotonic() + HEARTBEAT_S
        while not self._stop.wait(TICK_S):
            self._take_requests()
            self._check_keys()
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + HEARTBEAT_S
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
            self._parts.delivery.put(Renewal())
            self._parts.replay.renew()

    def _beat(self) -> None:
        delivery = self._parts.delivery
        self._rate.sample(delivery.counts["prediction"])
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
        self._statuses += 1
        message = status(self.run_id, self._statuses, what, text, source, **details)
        self._parts.delivery.put(Delivery(Record([message])))

    def status(self) -> dict[str, Any]:
        """What `tinyastd status` prints."""
        delivery, replay = self._parts.delivery, self._parts.replay
        return {
            **self._identity.fields(),
            "sources": [source.snapshot() for source in self._parts.sources],
            "backlog": self._backlog(),
            "blocked": delivery.blocked,
            "last": delivery.newest,
            "published": dict(delivery.counts),
            "windows_per_second": self._rate.per_second,
            "replays": {"answered": replay.answered, "refused": replay.refused},
        }

    # -- shut down -----------------------------------------------------------------------------

    def _shut_down(self) -> None:
        """Sources first, then the windows in hand, then what they found, then the sockets."""
        log.info("stopping: %s", self._stop_reason)
        parts = self._parts
        self._stop.set()
        for source in parts.sources:
            source.stop()
        for microphone in parts.microphones:  # their last windows are still worked on
            microphone.join()
        left = parts.jobs.close()
        for thread in (*parts.workers, *parts.folders):
            thread.join()
        for job in left:
            job.close()
        try:
            self._say("stopping", self._stop_reason)
        except Abandoned:
            log.warning("could not say that it stops")
        parts.delivery.stop()
        parts.delivery.join()
        parts.replay.stop()
        parts.replay.join()
        if parts.endpoints.gate is not None:
            parts.endpoints.gate.stop()
            parts.endpoints.gate.join()
        parts.endpoints.close()
        parts.lock.release()


def _check_folders(settings: Settings) -> None:
    for folder in settings.folder:
        zone(folder.time_zone)
        if not os.path.isdir(folder.path):
            raise StartError(
                f"there is no folder {folder.path} to watch; make it, or name another with --watch"
            )


def _make_state(state: Path) -> Path:
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(
            f"cannot make the state directory {state}: {error.strerror}; name another with --state"
        ) from error
    return state


def _load_classifier(settings: Settings) -> Classifier:
    try:
        classifier = Classifier.load(settings.checkpoint_path, settings.engine)
    except CheckpointError as error:
        raise StartError(str(error)) from error
    check_labels(settings.decision, classifier.labels)
    check_known("events.labels", settings.events.labels, classifier.labels)
    return classifier


def _describe(classifier: Classifier) -> dict[str, str]:
    return {
        "name": classifier.checkpoint.name,
        "version": classifier.checkpoint.version,
        "sha256": classifier.engine.sha256,
        "engine": classifier.engine.name,
    }
