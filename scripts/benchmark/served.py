"""A daemon in a process of its own, and another program that listens to it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq

from tinyast.errors import TinyASTError

PATIENCE_S = 120.0
PREDICTIONS, FILES = "tinyast.v1.prediction.", "tinyast.v1.file."  # topics


class NoDaemon(TinyASTError):
    """It did not start, or is not heard."""


@dataclass
class Served:
    """A daemon that is ready, and how long it took to be."""

    base: Path
    folder: Path  # that is watched
    pid: int
    ready_s: float


class Bed:
    """Where daemons are started: a disk, a checkpoint and options for all of them."""

    def __init__(self, parent: Path, checkpoint: Path | None, engine: str) -> None:
        self.parent, self.checkpoint, self.engine = parent, checkpoint, engine

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder on that disk, gone at the end."""
        with tempfile.TemporaryDirectory(dir=self.parent, prefix="benchmark-") as name:
            yield Path(name)

    @contextmanager
    def serve(
        self, *options: str, base: Path | None = None, folder: Path | None = None
    ) -> Iterator[Served]:
        """A daemon on an empty folder and journal, or on those in `base`; stopped at the end.

        It watches `folder`, if one is given that is elsewhere.
        """
        if base is None:
            with self.folder() as made, self.serve(*options, base=made, folder=folder) as served:
                yield served
            return
        folder = folder or base / "in"
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "daemon", "run", *options, "--engine", self.engine]
        command += ["--watch", str(folder), "--state", str(base / "state")]
        command += ["--publish", f"ipc://{base}/p", "--replay", f"ipc://{base}/r"]
        if self.checkpoint is not None:
            command += ["--checkpoint", str(self.checkpoint)]
        begin = time.perf_counter()
        with (base / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
            try:
                while b"ready" not in (base / "log").read_bytes():
                    if process.poll() is not None:
                        said = (base / "log").read_text(errors="replace")
                        raise NoDaemon(f"no daemon: {said}")
                    time.sleep(0.0005)
                yield Served(base, folder, process.pid, time.perf_counter() - begin)
            finally:
                process.terminate()
                process.wait(PATIENCE_S)


class Subscriber:
    """Another program: hears what begins with `topic`, and knows nothing of replay."""

    def __init__(self, served: Served, topic: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.rcvhwm = 0
        self._socket.subscribe(topic)
        self._socket.connect(f"ipc://{served.base}/p")

    def next(self, timeout: float = PATIENCE_S) -> tuple[float, dict[str, Any]]:
        """The moment (time.perf_counter) a message arrived, and the message."""
        if not self._socket.poll(max(1, round(1000 * timeout))):
            raise TimeoutError(f"nothing was heard for {timeout:g} s")
        _, body = self._socket.recv_multipart()
        arrived = time.perf_counter()
        message: dict[str, Any] = json.loads(body)
        return arrived, message

    def count(self, messages: int) -> float:
        """Hear so many messages without reading them; the moment the last one arrived."""
        self._socket.rcvtimeo = round(1000 * PATIENCE_S)  # asked by poll, each would cost twice
        try:
            for _ in range(messages):
                self._socket.recv_multipart()
        except zmq.Again:
            raise TimeoutError(f"nothing was heard for {PATIENCE_S:g} s") from None
        return time.perf_counter()

    def settle(self, provoke: Callable[[int], object]) -> None:
        """Return when the subscription has reached the daemon, which `provoke` has say things."""
        for attempt in range(200):
            provoke(attempt)
            try:
                self.next(0.3)
                break
            except TimeoutError:
                continue
        else:
            raise NoDaemon("the daemon is not heard")
        while True:  # what is still to come of that
            try:
                self.next(0.3)
            except TimeoutError:
                return

    def close(self) -> None:
        self._context.destroy(linger=0)


@contextmanager
def listening(served: Served, topic: str, provoke: Callable[[int], object]) -> Iterator[Subscriber]:
    """A subscriber whose subscription has reached the daemon, as `settle` sees to."""
    subscriber = Subscriber(served, topic)
    try:
        subscriber.settle(provoke)
        yield subscriber
    finally:
        subscriber.close()


def ask(served: Served, request: dict[str, Any]) -> list[bytes]:
    """One request to the daemon's replay endpoint, and its frames."""
    context = zmq.Context()
    try:
        socket = context.socket(zmq.REQ)
        socket.connect(f"ipc://{served.base}/r")
        socket.send(json.dumps(request).encode())
        if not socket.poll(round(1000 * PATIENCE_S)):
            raise TimeoutError("the daemon did not answer")
        return socket.recv_multipart()
    finally:
        context.destroy(linger=0)
