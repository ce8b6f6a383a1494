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
from tinyast.content import Content


def test_what_waits_to_be_committed_holds_on_to_no_sound(tmp_path: Path) -> None:
    """While files queue up, many of them wait for one commit, and a file is half a megabyte."""
    deliveries: list[Delivery] = []
    left: list[bytes] = []

    def leave(path: bytes, outcome: Outcome) -> None:
        left.append(path)

    bench = Bench(Classifier.load(), Rules(Decision(), 5.0, 3600.0, 5), deliveries.append)
    path = os.fsencode(write_wav(tmp_path / "a.wav"))
    job = FileJob(
        claim(path, "in", Identity.of(os.lstat(path)), None),
        Folder(name="in", path=str(tmp_path)),
        bench,
        leave,
    )
    while job.step():
        pass
    del job
    gc.collect()
    assert not [held for held in gc.get_objects() if isinstance(held, Content)]
    (delivery,) = deliveries
    assert delivery.committed is not None
    delivery.committed()
    assert left == [path]
