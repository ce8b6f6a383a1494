"""A job on one file, without the threads around it."""

from __future__ import annotations

import gc
import os
import tracemalloc
from pathlib import Path

import pytest
from sounds import write_wav

from daemon.journal.ledger import Identity, claim
from daemon.journal.records import Delivery
from daemon.monitoring.metrics import Tally
from daemon.pipeline.file_job import FileJob
from daemon.pipeline.job import JobContext, Outcome
from daemon.pipeline.prediction import Rules
from daemon.pipeline.queue import JobQueue
from daemon.pipeline.worker import Worker
from daemon.protocol.messages import Prediction
from daemon.settings.schema import Decision, Folder
from tinyast import Classifier
from tinyast.audio.content import BEGINNING, Content
from tinyast.audio.decoding import read_file


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load()


def job_on(
    path: Path, classifier: Classifier, deliveries: list[Delivery], left: list[bytes]
) -> FileJob:
    def leave(path: bytes, outcome: Outcome) -> None:
        left.append(path)

    name = os.fsencode(path)
    return FileJob(
        claim(name, "in", Identity.of(os.lstat(name)), None),
        Folder(name="in", path=str(path.parent)),
        JobContext(classifier, Rules(Decision(), 5.0, 3600.0, 5), deliveries.append),
        leave,
    )


def held() -> list[int]:
    """Bytes of each file that is in memory."""
    gc.collect()
    return [found.held for found in gc.get_objects() if type(found) is Content]


def do(job: FileJob, classifier: Classifier, deliveries: list[Delivery] | None = None) -> bool:
    """One step, as a worker does it; whether there are more."""
    picture = job.prepare()
    logits = None if picture is None else classifier.engine.logits(picture[None])[0]
    results = job.finish(logits)
    if deliveries is not None:
        deliveries += results
    return job.more()


def test_what_waits_to_be_committed_holds_on_to_no_sound(
    tmp_path: Path, classifier: Classifier
) -> None:
    """While files queue up, many of them wait for one commit, and a file is half a megabyte."""
    deliveries: list[Delivery] = []
    left: list[bytes] = []
    path = write_wav(tmp_path / "a.wav")
    job = job_on(path, classifier, deliveries, left)
    while do(job, classifier, deliveries):
        pass
    del job
    assert held() == []
    (delivery,) = deliveries
    assert delivery.committed is not None
    delivery.committed()
    assert left == [os.fsencode(path)]


def test_a_file_of_several_windows_is_not_held_from_one_to_the_next(
    tmp_path: Path, classifier: Classifier
) -> None:
    """More than a hundred of them take turns."""
    job = job_on(write_wav(tmp_path / "a.wav", seconds=20.0), classifier, [], [])
    assert do(job, classifier)
    assert held() == [BEGINNING]
    job.close()


def test_a_file_is_not_held_while_the_model_is_asked(
    tmp_path: Path, classifier: Classifier
) -> None:
    """A worker hears several before it asks for all of them."""
    path = write_wav(tmp_path / "a.wav")
    do(job_on(path, classifier, [], []), classifier)  # makes objects that stay
    job = job_on(path, classifier, [], [])
    tracemalloc.start()
    try:
        assert job.prepare() is not None
        in_memory, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held() == [BEGINNING]
    assert in_memory < path.stat().st_size / 2 < most
    job.close()


def test_one_that_vanished_or_changed_harms_none_that_is_taken_with_it(
    tmp_path: Path, classifier: Classifier
) -> None:
    deliveries: list[Delivery] = []
    left: list[bytes] = []
    jobs = JobQueue(1)
    paths = [write_wav(tmp_path / f"{number}.wav", seed=number) for number in range(8)]
    for path in paths:
        jobs.put(job_on(path, classifier, deliveries, left))
    paths[1].unlink()
    paths[2].write_bytes(b"no sound at all")
    context = JobContext(classifier, Rules(Decision(), 5.0, 3600.0, 5), deliveries.append)
    worker = Worker(0, jobs, context, Tally())
    worker.start()
    while len(deliveries) < 6 or len(left) < 2:
        assert worker.is_alive()
    jobs.close()
    worker.join()
    said = {
        message.source.path or "": message
        for delivery in deliveries
        for message in delivery.record.messages
        if isinstance(message, Prediction)
    }
    assert list(said) == [str(path) for number, path in enumerate(paths) if number not in (1, 2)]
    for name, message in said.items():
        (alone,) = classifier.predict(*read_file(name))
        # Several windows at once are added up in another order: the sixth digit may differ by one.
        assert [one.label for one in message.top] == [label for label, _ in alone.top(5)]
        scores = [score for _, score in alone.top(5)]
        assert [one.score for one in message.top] == pytest.approx(scores, abs=1.6e-6)


def test_a_file_for_which_there_is_no_memory_now_is_tried_again(
    tmp_path: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> None:
        raise MemoryError

    deliveries: list[Delivery] = []
    left: list[bytes] = []
    path = write_wav(tmp_path / "a.wav")
    monkeypatch.setattr(Classifier, "hear", none_left)
    assert not do(job_on(path, classifier, deliveries, left), classifier, deliveries)
    (delivery,) = deliveries
    assert delivery.record.messages == []
    assert delivery.record.row is None
    assert delivery.committed is not None
    delivery.committed()
    assert left == [os.fsencode(path)]
    assert held() == []
