"""Put the components of a daemon together and start them; an ExitStack stops them in reverse."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import msgspec

from daemon.delivery.endpoints import Endpoints, bind
from daemon.delivery.publisher import DeliveryThread
from daemon.delivery.replay import ReplayThread
from daemon.errors import Abandoned, SettingsError, StartError, words_for
from daemon.host.locks import Lock, lock_path
from daemon.host.trust import check_private_tree
from daemon.journal.crashes import WorkMarks
from daemon.journal.records import Delivery, Record
from daemon.journal.writer import Journal
from daemon.monitoring import logging as logs
from daemon.monitoring.metrics import Tally
from daemon.monitoring.service_thread import Running, ServiceThread
from daemon.monitoring.shortage import crash_explained, require_descriptors
from daemon.monitoring.status import Identity
from daemon.pipeline.decision import check_known, check_labels, tuned_for_another
from daemon.pipeline.job import JobContext
from daemon.pipeline.live_job import end_left_open
from daemon.pipeline.prediction import Rules
from daemon.pipeline.queue import JobQueue
from daemon.pipeline.recording_time import zone
from daemon.protocol.keys import load_server
from daemon.protocol.messages import Source, StatusDetails, status
from daemon.protocol.states import DaemonStatus, RunningModel
from daemon.service.engine_choice import Choice, EngineTimer, choose_engine
from daemon.service.helper_process import Helper
from daemon.service.helpers import Helpers, wanted
from daemon.service.inbox import Inbox
from daemon.service.table_checks import RELOAD_S, TableChecks
from daemon.service.worker_pool import WorkerPool
from daemon.settings.paths import may_be_folder
from daemon.settings.schema import Settings
from daemon.sources.folder.source import FolderSource
from daemon.sources.microphone.source import MicrophoneSource
from tinyast.audio import ffmpeg
from tinyast.classifier import Classifier
from tinyast.errors import CheckpointError
from tinyast.inference.allocator import give_back_freed_memory, keep_freed_memory
from tinyast.inference.checkpoint import files_of
from tinyast.inference.engine_names import AUDIOSET

if TYPE_CHECKING:
    from daemon.monitoring.http import Web

log = logging.getLogger(__name__)

OnFault = Callable[[BaseException], None]


@dataclass(frozen=True)
class LoadedModel:
    """A checkpoint in the engine that was chosen for it."""

    classifier: Classifier
    choice: Choice


@dataclass(frozen=True)
class Held:
    """The exclusive resources of a daemon, taken before any thread runs."""

    state: Path
    model: LoadedModel
    endpoints: Endpoints
    journal: Journal
    marks: WorkMarks


class Components:
    """Everything that runs. `start` enters it into the stack that stops it."""

    def __init__(self, held: Held, settings: Settings, run_id: str) -> None:
        self.endpoints, self.journal = held.endpoints, held.journal
        self._run_id, self._numbers = run_id, itertools.count(1)
        self._marks = held.marks
        self.tally = Tally()
        self.jobs = JobQueue(settings.worker_count)
        self.delivery = DeliveryThread(
            held.journal,
            held.endpoints.publisher,
            settings.journal,
            self.tally,
            lambda: self.jobs.is_backlog,
        )
        self.context = JobContext(
            held.model.classifier,
            Rules.of(settings),
            self.delivery.put,
            self.tally.stage,
            held.marks,
            held.journal.count_crashes(held.marks.left),
            settings.publishes_pictures,
        )
        self.pool = WorkerPool(settings.worker_count, self.jobs, self.context, self.tally)
        self.folders = [
            FolderSource(folder, held.state, self.jobs, self.context, self.say, settings.journal)
            for folder in settings.folder
        ]
        self.microphones = [
            MicrophoneSource(
                each, settings.events, held.state, run_id, self.jobs, self.context, self.say
            )
            for each in settings.live
        ]
        self.identity = _identify(held, settings, run_id)
        self.event_settings = settings.events
        self._files = files_of(settings.checkpoint_path)
        self.helpers = Helpers(self._wanted(settings), self.say)
        self._model = held.model
        self._fixed = {"engine": settings.engine, "state": settings.state}
        self._timer = EngineTimer(held.state, held.model.classifier, self._is_idle)
        self.replay: ReplayThread
        self.web: Web | None = None

    @property
    def sources(self) -> list[FolderSource | MicrophoneSource]:
        return [*self.folders, *self.microphones]

    @property
    def running_model(self) -> RunningModel:
        """The model in use, and why this engine runs it."""
        model = self.identity.model
        if self._timer.found and self._timer.classifier is self.context.classifier:
            return msgspec.structs.replace(model, engine_reason=self._timer.found)
        return model

    def _is_idle(self) -> bool:
        """Whether no file and no live window waits or is in work."""
        waiting = any(source.waiting for source in self.sources)
        return not waiting and not any(self.jobs.depths().values())

    @property
    def threads(self) -> list[ServiceThread]:
        web = [] if self.web is None else [self.web]
        gates = [self.endpoints.monitor, self.endpoints.door]
        front = [*gates, self.delivery, self.replay, self.helpers]
        return [*front, *web, *self.pool.responsible, *self.sources]

    def stalled(self) -> list[str]:
        """Names of the threads that make no progress; empty while the disk blocks them.

        A folder whose mount hangs is `blocked`, which its state shows; other sources continue.
        """
        if self.delivery.blocked:
            return []
        threads = [thread for thread in self.threads if thread not in self.folders]
        return [thread.name for thread in threads if thread.liveness.stalled]

    def watch_for_hung(self) -> None:
        """Go on without what a file system holds, and publish when that begins and ends."""
        self.pool.watch()
        for folder in self.folders:
            if (text := folder.news_of_blocking()) is not None:
                what = "source_lost" if folder.blocked else "source_back"
                self.post(what, text, source=folder.source)

    def unwell(self) -> str | None:
        """Why the daemon is not well; None if it is."""
        stalled = self.stalled()
        return f"no progress in {', '.join(stalled)}" if stalled else None

    def say(
        self,
        what: str,
        text: str,
        source: Source | None = None,
        **details: Unpack[StatusDetails],
    ) -> None:
        """Publish a status. Raises Abandoned if the daemon stops and the disk takes no more."""
        self.delivery.put(self._status(what, text, source, **details))

    def post(
        self,
        what: str,
        text: str,
        source: Source | None = None,
        **details: Unpack[StatusDetails],
    ) -> None:
        """Publish a status without waiting: for the main thread."""
        self.delivery.post(self._status(what, text, source, **details))

    def _status(
        self, what: str, text: str, source: Source | None, **details: Unpack[StatusDetails]
    ) -> Delivery:
        message = status(self._run_id, next(self._numbers), what, text, source, **details)
        return Delivery(Record([message]))

    def check(self, settings: Settings) -> LoadedModel:
        """The model of `settings`: the one in use, or a new one if its files are others.

        Raises SettingsError for labels that the model, or time zones that the system lacks, or
        helpers that refuse their tables, and StartError for a checkpoint that cannot be loaded.
        """
        for folder in settings.folder:
            zone(folder.time_zone)
        model = self._model
        if files_of(settings.checkpoint_path) != self._files:
            # Neither another setting `engine` nor another state counts before the next start.
            model = _load_model(msgspec.structs.replace(settings, **self._fixed))
        _check_labels(settings, model.classifier)
        _check_privacy(settings, model.classifier)
        with TableChecks(self.helpers.others(self._wanted(settings))) as checks:
            checks.judge(RELOAD_S)
        return model

    def apply(self, settings: Settings, model: LoadedModel) -> None:
        """Use other settings from the next file and the next live window on."""
        if model is not self._model:
            self._timer.stop()
            self._model, self.context.classifier = model, model.classifier
            self._files = files_of(settings.checkpoint_path)
            self.identity = replace(self.identity, model=_describe(model))
            log.info("the model is now %s", model.classifier.checkpoint.model)
        self.context.rules = Rules.of(settings)
        self.context.pictures = settings.publishes_pictures
        self.event_settings = settings.events
        for microphone in self.microphones:
            microphone.go_by(settings.events)
        logs.configure(settings.log)
        self.helpers.go_by(self._wanted(settings))

    def _wanted(self, settings: Settings) -> list[Helper]:
        return wanted(settings, self.identity.publish, self.identity.replay)

    def open_inbox(self, state: Path) -> Inbox:
        """Requests to this daemon, without those that crash it."""
        slot = len(self.pool.workers)  # after those of the workers
        inbox = Inbox(state, lambda name: self._marks.working(slot, name))
        inbox.give_up(self.context.crashes)
        return inbox

    # -- start and stop ------------------------------------------------------------------------

    def start(self, stack: ExitStack, on_fault: OnFault, reason: Callable[[], str]) -> None:
        """Start every thread, from the end of the data's way to its beginning.

        `stack` stops them in reverse: sources, then the windows in hand, then their delivery.
        `reason` says then why the daemon stops.
        """
        left_open = self.journal.open_events()  # events that were open when the daemon was killed
        stack.enter_context(Running([self.delivery], on_fault))
        self.delivery.put(Delivery(end_left_open(left_open)))
        front = [self.replay] if self.web is None else [self.replay, self.web]
        stack.enter_context(Running([*front, self.helpers], on_fault))
        stack.callback(self._say_stopping, reason)
        stack.enter_context(self.pool.running(on_fault))
        stack.enter_context(Running(self.folders, on_fault))
        stack.callback(self._close_jobs)  # after the last windows of the microphones
        stack.enter_context(Running(self.microphones, on_fault))
        if self._model.choice.untimed:
            stack.enter_context(Running([self._timer], on_fault))

    def _close_jobs(self) -> None:
        for job in self.jobs.close():
            job.close()

    def _say_stopping(self, reason: Callable[[], str]) -> None:
        try:
            self.say("stopping", reason())
        except Abandoned:
            log.warning("the journal takes no message that the daemon stops")


def assemble(
    stack: ExitStack,
    settings: Settings,
    run_id: str,
    status: Callable[[Components], DaemonStatus],
    on_fault: OnFault,
) -> Components:
    """Make the components of a daemon; `stack` releases their resources. Raises DaemonError."""
    held = _hold(stack, settings, run_id, on_fault)
    components = Components(held, settings, run_id)

    def answer() -> DaemonStatus:
        return status(components)

    components.replay = ReplayThread(
        held.state, held.endpoints.router, held.journal.uuid, answer, components.tally
    )
    if settings.metrics:
        from daemon.monitoring.http import Web, parse_address  # takes 20 ms, off by default

        address = parse_address(settings.metrics, settings.insecure)
        components.web = stack.enter_context(
            closing(Web(address, components.tally, answer, components.unwell))
        )
    return components


def _hold(stack: ExitStack, settings: Settings, run_id: str, on_fault: OnFault) -> Held:
    """Take the resources that only one daemon may hold: state, endpoints, journal."""
    require_descriptors()
    keep_freed_memory(settings.worker_count)
    _check_folders(settings)
    state = _make_state(settings.state_path)
    lock = Lock(lock_path(state), f"state directory {state}", folder=True)
    stack.callback(lock.release)
    with crash_explained("ONNX Runtime, which reads /sys/devices/system/cpu, cannot start"):
        model = _load_model(settings)
    keys = None if settings.keys_path is None else load_server(settings.keys_path)
    endpoints = stack.enter_context(
        bind(settings.publish, settings.replay, settings.insecure, keys, on_fault, state)
    )
    give_back_freed_memory()
    journal = stack.enter_context(closing(Journal(state, settings.node, run_id)))
    marks = stack.enter_context(closing(WorkMarks(state, settings.worker_count + 1)))
    return Held(state, model, endpoints, journal, marks)


def _identify(held: Held, settings: Settings, run_id: str) -> Identity:
    return Identity(
        settings.node,
        run_id,
        held.journal.uuid,
        held.endpoints.publisher.address,
        held.endpoints.router.address,
        str(held.state),
        _describe(held.model),
        settings.worker_count,
    )


def _check_folders(settings: Settings) -> None:
    for folder in settings.folder:
        zone(folder.time_zone)
        try:
            found = may_be_folder(folder.path)
        except PermissionError as error:
            raise StartError(f"cannot watch {folder.path}: {error.strerror}") from error
        if not found:
            if os.path.isfile(folder.path):
                raise StartError(f"{folder.path} is a file; name its folder")
            raise StartError(
                f"there is no folder {folder.path} to watch; make it, or name another with --watch"
            )
        if needing := ffmpeg.missing_for(folder.formats):
            raise StartError(
                f"`formats` of folder `{folder.name}` names {needing}, which needs ffmpeg; install "
                "it, or leave this format out"
            )


def _make_state(state: Path) -> Path:
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(
            f"cannot make the state directory {state}: {words_for(error, state)} (--state)"
        ) from error
    check_private_tree(state, "the state")
    return state


def _load_model(settings: Settings) -> LoadedModel:
    try:
        if settings.checkpoint_path is not None:
            check_private_tree(settings.checkpoint_path, "the model")
        choice = choose_engine(settings)
        classifier = Classifier.load(settings.checkpoint_path, choice.engine)
    except CheckpointError as error:
        raise StartError(str(error)) from error
    _check_labels(settings, classifier)
    _check_privacy(settings, classifier)
    if warning := tuned_for_another(settings, classifier.checkpoint.model):
        log.warning("%s", warning)
    return LoadedModel(classifier, choice)


def _describe(model: LoadedModel) -> RunningModel:
    checkpoint, engine = model.classifier.checkpoint, model.classifier.engine
    reason = model.choice.reason
    return RunningModel(checkpoint.name, checkpoint.version, engine.sha256, engine.name, reason)


def _check_labels(settings: Settings, classifier: Classifier) -> None:
    check_labels(settings.decision, classifier.labels)
    check_known("events.labels", settings.events.labels, classifier.labels)
    for number, rule in enumerate(settings.notify):
        check_known(f"notify[{number}].labels", rule.labels, classifier.labels)
    if settings.mqtt is not None and settings.mqtt.home_assistant is not None:
        wanted = settings.mqtt.home_assistant.labels
        check_known("mqtt.home_assistant.labels", wanted, classifier.labels)


def _check_privacy(settings: Settings, classifier: Classifier) -> None:
    """Raise SettingsError if voices are to be recognised, and the model cannot do that."""
    if AUDIOSET in classifier.engine.outputs:
        return
    problem = f"the model {classifier.checkpoint.model} does not recognise voices"
    if settings.privacy.speech not in (None, "keep"):
        raise SettingsError(
            f"{problem}, as `speech = {settings.privacy.speech!r}` in [privacy] needs it to; use a "
            "checkpoint of version 5 or newer"
        )
    if any(each.keep != "none" for each in settings.live):
        log.warning("%s, so sound that holds one is kept", problem)
