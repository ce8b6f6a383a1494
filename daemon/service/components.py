"""Put the components of a daemon together and start them; an ExitStack stops them in reverse."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import msgspec
from msgspec.structs import replace

from daemon.delivery.publisher import DeliveryThread
from daemon.delivery.replay import ReplayThread
from daemon.errors import Abandoned
from daemon.journal.records import Delivery, Record
from daemon.monitoring import logging as logs
from daemon.monitoring.metrics import Tally
from daemon.monitoring.service_thread import Running, ServiceThread
from daemon.pipeline.job import JobContext
from daemon.pipeline.live_job import end_left_open
from daemon.pipeline.prediction import Rules
from daemon.pipeline.queue import JobQueue
from daemon.pipeline.recording_time import zone
from daemon.protocol.messages import Source, StatusDetails, status
from daemon.protocol.states import DaemonStatus, RunningModel
from daemon.service.engine_choice import EngineTimer
from daemon.service.helper_process import Helper
from daemon.service.helpers import Helpers, wanted
from daemon.service.inbox import Inbox
from daemon.service.loaded_model import LoadedModel, check_suits, load_model
from daemon.service.resources import Held, OnFault, hold
from daemon.service.resting import Rest
from daemon.service.table_checks import RELOAD_S, TableChecks
from daemon.service.worker_pool import WorkerPool
from daemon.settings.schema import Settings
from daemon.sources.folder.source import FolderSource
from daemon.sources.microphone.source import MicrophoneSource
from tinyast.inference.checkpoint import files_of

if TYPE_CHECKING:
    from daemon.monitoring.http import Web

log = logging.getLogger(__name__)


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
        self.identity = held.identify(settings, run_id)
        self.event_settings = settings.events
        self._files = files_of(settings.checkpoint_path)
        self.helpers = Helpers(self._wanted(settings), self.say)
        self._model = held.model
        self._fixed = {"engine": settings.engine, "state": settings.state}
        self._timer = EngineTimer(held.state, held.model.classifier, self._is_idle)
        self.rest = Rest(self.context, self.tally, self._is_idle)
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
        """Work around a file system that hangs, and publish when that begins and ends."""
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
            model = load_model(msgspec.structs.replace(settings, **self._fixed))
        check_suits(settings, model.classifier)
        with TableChecks(self.helpers.others(self._wanted(settings))) as checks:
            checks.judge(RELOAD_S)
        return model

    def apply(self, settings: Settings, model: LoadedModel) -> None:
        """Use other settings from the next file and the next live window on."""
        if model is not self._model:
            self._timer.stop()
            self._model, self.context.classifier = model, model.classifier
            self._files = files_of(settings.checkpoint_path)
            self.identity = replace(self.identity, model=model.described)
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
    held = hold(stack, settings, run_id, on_fault)
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
