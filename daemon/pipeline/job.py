"""The work of a worker: jobs in steps, the context that they share, and how they end."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Struct, field

from daemon.journal.crashes import WorkMarks
from daemon.journal.records import Delivery
from daemon.monitoring.metrics import Stage, untimed
from daemon.pipeline.prediction import Rules
from daemon.protocol.messages import Prediction
from daemon.protocol.picture import Picture
from tinyast.arrays import Float
from tinyast.classifier import Classifier
from tinyast.features.picture import draw


class JobContext(Struct):
    """What every job works with."""

    classifier: Classifier  # replaced, as a whole, when settings are read again; and so are
    rules: Rules
    deliver: Callable[[Delivery], None]
    stage: Stage = untimed
    marks: WorkMarks | None = None  # of the work in hand, a slot for each worker
    crashes: Mapping[str, int] = field(default_factory=dict)  # of earlier runs, by name of work
    pictures: bool = False  # whether to publish them

    def picture(self, message: Prediction, seen: Float) -> list[Picture]:
        """The picture of a window if it is to be published; `seen` is (mel bands, frames)."""
        if not self.pictures or message.reason == "speech":
            return []
        with self.stage("picture"):
            drawing = draw(seen, self.classifier.checkpoint.features)
            png = b64encode(drawing.png).decode("ascii")
        return [Picture(id=message.id, source=message.source, png=png, picture_db=drawing.db)]


class Outcome(Struct, frozen=True):
    """How a job ended, for the source that claimed its file."""

    look_again: bool = False  # the file changed meanwhile
    retry: bool = False  # the system failed, not the file
    errno: int = 0  # how it failed
    text: str = ""


class Job(Protocol):
    """Work that is done in steps: `prepare`, the model if that gave a picture, `finish`, `more`."""

    @property
    def steps(self) -> int:
        """Steps begun so far in this run."""
        ...

    @property
    def heavy(self) -> bool:
        """Whether a step takes as long as many steps of most other jobs."""
        ...

    @property
    def work(self) -> tuple[str, int] | None:
        """Name and committed steps, to be counted if the daemon crashes; None if not counted."""
        ...

    @property
    def source_name(self) -> str | None:
        """The folder whose files it reads; None for a microphone."""
        ...

    @property
    def classifier(self) -> Classifier:
        """The model that made the last picture, and is to be given it."""
        ...

    def prepare(self) -> Float | None:
        """Begin a step: the picture of a window, (mel bands, frames), or None if it needs none."""
        ...

    def finish(self, logits: Float | None, speech: float = 0.0) -> list[Delivery]:
        """Go on with the step: what to commit.

        Given are the logits of its picture, (labels,), and the score of speech, 0 to 1.
        """
        ...

    def more(self) -> bool:
        """End the step, once its results are handed over: whether there is another."""
        ...

    def close(self) -> None:
        """Release all resources; no further step follows."""
        ...
