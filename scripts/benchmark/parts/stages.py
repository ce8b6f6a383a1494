"""Measure each step from a file to a message separately, on one thread.

Resampling and features are one graph. The time for resampling is the difference between this graph
and the graph for sound that is already at the model's rate.

Journal and publish are the minimal form of the daemon's guarantees: an SQLite transaction that is
on disk before it returns, and two frames through a PUB socket to a subscriber.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import zmq

from scripts.benchmark.figures import Counts, Figure, Stopwatch
from scripts.benchmark.served import Bed
from scripts.benchmark.sound import RATE, recording
from tinyast.audio.decoding import read_file
from tinyast.audio.resampling import resample
from tinyast.classifier import Classifier
from tinyast.inference.allocator import keep_freed_memory

WARM_UP = 10
MESSAGE = bytes(1_000)  # about as long as a prediction
TO_PICTURE = "resample and features"
TOGETHER = 32  # messages in one commit when there is a backlog


def measure(bed: Bed, counts: Counts) -> list[Figure]:
    """All stages, one after the other in each round."""
    keep_freed_memory()
    classifier = Classifier.load(bed.checkpoint, bed.engine)
    settings = classifier.checkpoint.features
    watch = Stopwatch()
    with bed.folder() as folder, _journal(folder) as journal, _published(folder) as publish:
        path = folder / "a.wav"
        for number in range(WARM_UP + counts.rounds):
            path.write_bytes(recording(number))
            samples, _ = watch("decode", read_file, path)
            picture, _ = watch(TO_PICTURE, classifier.hear, samples, RATE)
            watch("model", classifier.engine.logits, picture[None])
            # Alone, not as the difference of two times, which a busy machine makes negative.
            heard = watch("resample", resample, samples, RATE, settings.sampling_rate)
            watch("features", classifier.hear, heard, settings.sampling_rate)
            watch("journal, 1 message", _commit, journal, 1)
            watch(f"journal, {TOGETHER} messages", _commit, journal, TOGETHER)
            watch("publish", publish)
    named = {figure.name: figure for figure in watch.figures(leave_out=WARM_UP)}
    to_picture = named.pop(TO_PICTURE).values
    sums = zip(named["decode"].values, to_picture, named["model"].values, strict=True)
    return [
        named.pop("decode"),
        named.pop("resample"),
        named.pop("features"),
        named.pop("model"),
        Figure("WAV to scores", "ms", tuple(map(sum, sums))),
        *named.values(),
    ]


@contextmanager
def _journal(folder: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(folder / "a.sqlite3", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute(
            "CREATE TABLE messages (seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, body BLOB)"
        )
        yield database


def _commit(database: sqlite3.Connection, messages: int) -> None:
    database.execute("BEGIN IMMEDIATE")
    database.executemany(
        "INSERT INTO messages (id, body) VALUES (?, ?)",
        [(os.urandom(16), MESSAGE) for _ in range(messages)],
    )
    database.execute("COMMIT")


@contextmanager
def _published(folder: Path) -> Iterator[Callable[[], None]]:
    """A function that sends one message and returns when a subscriber has it."""
    context = zmq.Context()
    sender, receiver = context.socket(zmq.PUB), context.socket(zmq.SUB)
    sender.bind(f"ipc://{folder}/p")
    receiver.subscribe("t")
    receiver.connect(f"ipc://{folder}/p")

    def publish() -> None:
        sender.send_multipart((b"t", MESSAGE))
        if not receiver.poll(10_000):
            raise TimeoutError("the subscriber received no message")
        receiver.recv_multipart()

    try:
        while not receiver.poll(20):  # until the subscription is there
            sender.send(b"t")
        while receiver.poll(50):
            receiver.recv_multipart()
        yield publish
    finally:
        context.destroy(linger=0)
