"""What a daemon consists of, how that is put together, and in which order it starts and stops."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.delivery.endpoints import Endpoints, bind
from daemon.delivery.publisher import DeliveryThread
from daemon.delivery.replay import ReplayThread
from daemon.errors import StartError
from daemon.host.locks import Lock, lock_path
from daemon.journal.records import Delivery, OpenEvent
from daemon.journal.writer import Journal
from daemon.monitoring import logging as logs
from daemon.monitoring.metrics import Tally
from daemon.monitoring.status import Identity
from daemon.pipeline.decision import check_known, check_labels
from daemon.pipeline.job import JobContext
from daemon.pipeline.live_job import end_left_open
from daemon.pipeline.prediction import Rules
from daemon.pipeline.queue import JobQueue
from daemon.pipeline.recording_time import zone
from daemon.pipeline.worker import Worker
from daemon.protocol.keys import load_server
from daemon.settings.schema import Settings
from daemon.sources.folder.source import FolderSource
from daemon.sources.microphone.source import MicrophoneSource
from tinyast.classifier import Classifier
from tinyast.errors import CheckpointError
from tinyast.inference.allocator import give_back_freed_memory, keep_freed_memory

if TYPE_CHECKING:
    from daemon.monitoring.http import Web

Guard = Callable[[Callable[..., None]], Callable[..., None]]


@dataclass
class Parts:
    """Everything that runs. What is said of itself goes through `say`, as of `build`."""

    lock: Lock
    endpoints: Endpoints
    delivery: DeliveryThread
    replay: ReplayThread
    context: JobContext
    jobs: JobQueue
    folders: list[FolderSource]
    microphones: list[MicrophoneSource]
    workers: list[Worker]
    tally: Tally
    identity: Identity
    left_open: list[OpenEvent]  # sounds that went on when the daemon was killed
    set_aside: Path | None  # a damaged journal
    web: Web | None = None

    @property
    def sources(self) -> list[FolderSource | MicrophoneSource]:
        return [*self.folders, *self.microphones]

    def stalled(self) -> list[str]:
        """Names of the threads that get nowhere; none where the disk is what they wait for."""
        if self.delivery.blocked:
            return []
        threads: list[DeliveryThread | ReplayThread | Worker | FolderSource | MicrophoneSource]
        threads = [self.delivery, self.replay, *self.workers, *self.sources]
        return [thread.name for thread in threads if thread.pulse.stalled]

    def check(self, settings: Settings) -> None:
        """Raise SettingsError where settings name labels that the model does not know."""
        _check_labels(settings, self.context.classifier)

    def apply(self, settings: Settings) -> None:
        """Go by other settings from the next file, and the next live window, on."""
        self.context.rules = _rules(settings)
        for microphone in self.microphones:
            microphone.go_by(settings.events)
        logs.configure(settings.log)

    def start(self, guard: Guard) -> None:
        """Start every thread, from the end of the data's way to its beginning."""
        gate = [] if self.endpoints.gate is None else [self.endpoints.gate]
        visitors = self.endpoints.visitors
        threads = [visitors, *gate, self.delivery, self.replay, *self.workers, *self.sources]
        web = [] if self.web is None else [self.web]
        for thread in [*threads, *web]:
            thread.run = guard(thread.run)  # type: ignore[method-assign]
            thread.start()
            if thread is self.delivery:  # before anything else is said
                self.delivery.put(Delivery(end_left_open(self.left_open)))

    def unwell(self) -> str | None:
        """Why the daemon is not well; None if it is."""
        stalled = self.stalled()
        return f"no progress in {', '.join(stalled)}" if stalled else None

    def finish_work(self) -> None:
        """Stop the sources, then the workers when the windows in hand are done."""
        for source in self.sources:
            source.stop()
        for microphone in self.microphones:  # their last windows are still worked on
            microphone.join()
        left = self.jobs.close()
        for thread in (*self.workers, *self.folders):
            thread.join()
        for job in left:
            job.close()

    def finish_delivery(self) -> None:
        """Deliver what was found, then let go of the endpoints and the state directory."""
        self.delivery.stop()
        self.delivery.join()
        if self.web is not None:
            self.web.stop()
        self.replay.stop()
        self.replay.join()
        if self.endpoints.gate is not None:
            self.endpoints.gate.stop()
            self.endpoints.gate.join()
        self.endpoints.close()
        self.lock.release()


def build(
    settings: Settings,
    run_id: str,
    say: Callable[..., None],
    status: Callable[[], dict[str, Any]],
) -> Parts:
    """Put a daemon together; nothing runs yet. Raises DaemonError, and then holds nothing."""
    keep_freed_memory(settings.worker_count)
    _check_folders(settings)
    state = _make_state(settings.state_path)
    lock = Lock(lock_path(state), f"state directory {state}")
    try:
        classifier = _load_classifier(settings)
        keys = None if settings.keys_path is None else load_server(settings.keys_path)
        endpoints = bind(settings.publish, settings.replay, settings.insecure, keys)
    except BaseException:
        lock.release()
        raise
    give_back_freed_memory()
    try:
        journal = Journal(state, settings.node, run_id)
        left_open = journal.open_events()
    except BaseException:
        endpoints.close()
        lock.release()
        raise
    tally = Tally()
    jobs = JobQueue(settings.worker_count)
    delivery = DeliveryThread(
        journal, endpoints.publisher, settings.journal, tally, lambda: jobs.is_backlog
    )
    context = JobContext(classifier, _rules(settings), delivery.put, tally.stage)
    parts = Parts(
        lock=lock,
        endpoints=endpoints,
        delivery=delivery,
        replay=ReplayThread(state, endpoints.router, journal.uuid, status, tally),
        context=context,
        jobs=jobs,
        folders=[FolderSource(folder, state, jobs, context, say) for folder in settings.folder],
        microphones=[
            MicrophoneSource(microphone, settings.events, state, run_id, jobs, context, say)
            for microphone in settings.microphone
        ],
        workers=[
            Worker(number, jobs, classifier.engine, tally)
            for number in range(settings.worker_count)
        ],
        tally=tally,
        identity=Identity(
            settings.node,
            run_id,
            journal.uuid,
            endpoints.publisher.address,
            endpoints.router.address,
            str(state),
            _describe(classifier),
            settings.worker_count,
        ),
        left_open=left_open,
        set_aside=journal.set_aside,
    )
    if settings.metrics:
        try:
            parts.web = _open_web(settings, parts, status)
        except BaseException:
            journal.close()
            endpoints.close()
            lock.release()
            raise
    return parts


def _open_web(settings: Settings, parts: Parts, status: Callable[[], dict[str, Any]]) -> Web:
    from daemon.monitoring.http import Web, parse_address  # only where it is asked for: 20 ms

    address = parse_address(settings.metrics, settings.insecure)
    return Web(address, parts.tally, status, parts.unwell)


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
    _check_labels(settings, classifier)
    return classifier


def _describe(classifier: Classifier) -> dict[str, str]:
    return {
        "name": classifier.checkpoint.name,
        "version": classifier.checkpoint.version,
        "sha256": classifier.engine.sha256,
        "engine": classifier.engine.name,
    }


def _check_labels(settings: Settings, classifier: Classifier) -> None:
    check_labels(settings.decision, classifier.labels)
    check_known("events.labels", settings.events.labels, classifier.labels)


def _rules(settings: Settings) -> Rules:
    audio = settings.audio
    return Rules(settings.decision, audio.hop, audio.max_duration, settings.top)
