"""A job on one file, without the threads around it."""

from __future__ import annotations

import gc
import os
from pathlib import Path

from sounds import write_wav

from daemon.claims import claim
from daemon.delivery import Delivery
from daemon.filejob import Bench, FileJob, Outcome
from daemon.predictions import Rules
from daemon.records import Identity
from daemon.settings import Decision, Folder
from tinyast import Classifier
from tinyast.content import BEGINNING, Content


def job_on(path: Path, deliveries: list[Delivery], left: list[bytes]) -> FileJob:
    def leave(path: bytes, outcome: Outcome) -> None:
        left.append(path)

    name = os.fsencode(path)
    return FileJob(
        claim(name, "in", Identity.of(os.lstat(name)), None),
        Folder(name="in", path=str(path.parent)),
        Bench(Classifier.load(), Rules(Decision(), 5.0, 3600.0, 5), deliveries.append),
        leave,
    )


def held() -> list[int]:
    """Bytes of each file that is in memory."""
    gc.collect()
    return [found.held for found in gc.get_objects() if type(found) is Content]


def test_what_waits_to_be_committed_holds_on_to_no_sound(tmp_path: Path) -> None:
    """While files queue up, many of them wait for one commit, and a file is half a megabyte."""
    deliveries: list[Delivery] = []
    left: list[bytes] = []
    path = write_wav(tmp_path / "a.wav")
    job = job_on(path, deliveries, left)
    while job.step():
        pass
    del job
    assert held() == []
    (delivery,) = deliveries
    assert delivery.committed is not None
    delivery.committed()
    assert left == [os.fsencode(path)]


def test_a_file_of_several_windows_is_not_held_from_one_to_the_next(tmp_path: Path) -> None:
    """More than a hundred of them take turns."""
    job = job_on(write_wav(tmp_path / "a.wav", seconds=20.0), [], [])
    assert job.step()
    assert held() == [BEGINNING]
    job.close()
