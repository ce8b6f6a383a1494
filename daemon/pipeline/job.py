"""What a worker does: jobs in steps, the context they share, and how they end."""

from __future__ import annotations

from collections.abc import Callable, Generator
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
    """How a job left its file, for the source that claimed it."""

    look_again: bool = False  # it changed meanwhile
    retry: bool = False  # the system failed, not the file
    errno: int = 0  # how it failed
    text: str = ""


# One step of a job. It may ask for the logits of a window by yielding its picture, once, and is
# sent them; it returns whether there is more to do.
Step = Generator[Float, Float, bool]


class Job(Protocol):
    """Work that is done in steps."""

    @property
    def steps(self) -> int:
        """Steps done so far in this run."""
        ...

    def step(self) -> Step:
        """Do one step."""
        ...

    def close(self) -> None:
        """Let go of whatever it holds; it is stepped no more."""
        ...
