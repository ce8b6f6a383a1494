"""The work of a worker: jobs in steps, the context that they share, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from daemon.journal.records import Delivery
from daemon.monitoring.metrics import Stage, untimed
from daemon.pipeline.prediction import Rules
from tinyast.arrays import Float
from tinyast.classifier import Classifier


@dataclass
class JobContext:
    """What every job works with."""

    classifier: Classifier
    rules: Rules  # replaced as a whole when settings are read again
    deliver: Callable[[Delivery], None]
    stage: Stage = untimed


@dataclass(frozen=True)
class Outcome:
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

    def prepare(self) -> Float | None:
        """Begin a step: the picture of a window, (mel bands, frames), or None if it needs none."""
        ...

    def finish(self, logits: Float | None) -> list[Delivery]:
        """Go on with the step, given the logits of its picture, (labels,): what to commit."""
        ...

    def more(self) -> bool:
        """End the step, once its results are handed over: whether there is another."""
        ...

    def close(self) -> None:
        """Release all resources; no further step follows."""
        ...
