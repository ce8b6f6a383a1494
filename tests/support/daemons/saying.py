"""Messages made by hand, for tests of what becomes of them; quicker than classifying sound."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from running import Daemon

from daemon.delivery.endpoints import bind
from daemon.delivery.publisher import DeliveryThread
from daemon.delivery.replay import ReplayThread
from daemon.journal.records import Delivery, Record
from daemon.journal.writer import Journal
from daemon.monitoring.metrics import Tally
from daemon.monitoring.service_thread import Running
from daemon.protocol.messages import (
    FileEnd,
    Judgement,
    Message,
    Model,
    Prediction,
    Ranked,
    Window,
    file_end,
    file_source,
    prediction,
)
from daemon.protocol.picture import Picture
from daemon.protocol.states import (
    Backlog,
    DaemonStatus,
    FolderState,
    Heartbeat,
    MicrophoneState,
    Replays,
    RunningModel,
)
from daemon.settings.schema import JournalLimits

SOURCE = file_source("in", b"/sounds/in/one.wav")


def predictions(count: int, first: int = 0, label: str = "dog") -> list[Prediction]:
    """Predictions of the size that real ones have."""
    judgement = Judgement(
        label=label,
        score=0.912345,
        threshold=0.5,
        decision="accepted",
        reason=None,
        top=tuple(Ranked(f"label_{n}", 0.123456) for n in range(5)),
        rms_dbfs=-20.0,
        model=Model("esc50", "1", "0" * 64),
    )
    window = Window(0, 0.0, 5.0, 0.0, "2026-01-01T00:00:00.000Z", "mtime")
    return [prediction(SOURCE, f"{n:032x}", window, judgement) for n in range(first, first + count)]


def ends(count: int, first: int = 0) -> list[FileEnd]:
    return [
        file_end(SOURCE, f"{n:032x}", "done", 1, None, 5.0, 16_000)
        for n in range(first, first + count)
    ]


def fill(state: Path, messages: Iterable[Message]) -> None:
    """Put `messages` into the journal of a daemon that does not run."""
    state.mkdir(exist_ok=True)
    journal = Journal(state, "test", "run")
    waiting = list(messages)
    for start in range(0, len(waiting), 1_000):
        journal.commit([Record(waiting[start : start + 1_000], noticed=0.0)])
    journal.close()


def started(daemon: Daemon) -> Daemon:
    """Start `daemon`, and return when its first message is committed as well."""
    daemon.start()
    with daemon.client(0, "tinyast.v1.status.started") as client:
        next(iter(client))
    return daemon


class Station:
    """The daemon's delivery and replay on real sockets, without its ears.

    with Station(tmp_path) as station:
        station.say(predictions(10))
    """

    def __init__(self, base: Path) -> None:
        state = base / "state"
        state.mkdir(exist_ok=True)
        self.publish, self.replay = f"ipc://{base}/p", f"ipc://{base}/r"
        self._stack = ExitStack()
        self._endpoints = self._stack.enter_context(bind(self.publish, self.replay, insecure=False))
        journal = Journal(state, "test", "run")
        tally = Tally()
        self.delivery = DeliveryThread(journal, self._endpoints.publisher, JournalLimits(), tally)
        self.sources: list[FolderState | MicrophoneState] = []  # that it says it has
        self._journal, self._newest = journal.uuid, 0
        self.replayer = ReplayThread(
            state, self._endpoints.router, journal.uuid, self._status, tally
        )

    def __enter__(self) -> Station:
        self._stack.enter_context(Running([self.delivery, self.replayer]))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stack.close()

    def say(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.delivery.put(Delivery(Record([message], noticed=0.0)))
            self._newest += 1

    def show(self, message: Prediction, png: bytes) -> None:
        """Publish a prediction with its picture."""
        picture = Picture(
            id=message.id, source=message.source, png=b64encode(png).decode(), picture_db=None
        )
        self.delivery.put(Delivery(Record([message], noticed=0.0), pictures=(picture,)))
        self._newest += 1

    def beat(self) -> None:
        beat = Heartbeat(
            run_id="run", node="test", sources=self.sources, backlog=Backlog(0, 0), blocked=None
        )
        self.delivery.beat(beat)

    def _status(self) -> DaemonStatus:
        return DaemonStatus(
            version="1", pid=1, node="test", run_id="run", journal=self._journal,
            started_at="2026-01-01T00:00:00.000Z", uptime_s=1.0, publish=self.publish,
            replay=self.replay, state="/", model=RunningModel("esc50", "1", "0" * 64, "onnx"),
            workers=1, sources=self.sources, backlog=Backlog(0, 0), blocked=None,
            last={"prediction": self._newest}, published={}, progress=0.0, journal_bytes=0,
            windows_per_second=0.0, replays=Replays(0, 0), connections={}, jobs={},
        )  # fmt: skip
