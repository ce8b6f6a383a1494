"""A daemon gives memory back once, when the work that needed it has ended."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import cast

import pytest

from daemon.monitoring.metrics import Tally
from daemon.pipeline.job import JobContext
from daemon.service.resting import Rest
from tinyast.errors import CheckpointError


class Given:
    """A classifier that counts how often it gives memory back."""

    times, error = 0, ""

    def give_back_memory(self) -> None:
        self.times += 1
        if self.error:
            raise CheckpointError(self.error)


class Work:
    """A daemon's work, as `Rest` sees it."""

    def __init__(self) -> None:
        self.idle, self.classifier, self._tally = True, Given(), Tally()
        context = cast(JobContext, SimpleNamespace(classifier=self.classifier))
        self.rest = Rest(context, self._tally, lambda: self.idle)

    def step(self) -> None:
        with self._tally.stage("step"):
            pass


def test_memory_is_given_back_once_after_work() -> None:
    work = Work()
    assert [work.rest.look() for _ in range(3)] == [False] * 3  # there was none yet
    work.step()
    assert [work.rest.look() for _ in range(4)] == [False, True, False, False]
    work.step()
    work.step()
    assert [work.rest.look() for _ in range(3)] == [False, True, False]
    assert work.classifier.times == 2


def test_it_is_kept_while_windows_come_or_wait() -> None:
    work = Work()
    for _ in range(5):
        work.step()
        assert not work.rest.look()
    work.idle = False  # a window takes longer than from one look to the next
    assert not work.rest.look()
    work.idle = True
    assert work.rest.look()


def test_a_graph_that_is_gone_is_told(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    work.classifier.error = "it has no features-16000.onnx"
    work.step()
    with caplog.at_level(logging.WARNING):
        assert [work.rest.look() for _ in range(3)] == [False, True, False]
    assert "it has no features-16000.onnx" in caplog.text
