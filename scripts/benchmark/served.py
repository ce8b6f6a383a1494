"""Start a daemon in a separate process, and subscribe to it."""

from __future__ import annotations

import json
import socket
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
    """The daemon did not start, or no message from it arrives."""


@dataclass
class Served:
    """A daemon that is ready, and the time its start took."""

    base: Path
    folder: Path  # the watched folder
    pid: int
    ready_s: float


class Bed:
    """Conditions for all daemons: a disk, a checkpoint and an engine."""

    def __init__(self, parent: Path, checkpoint: Path | None, engine: str) -> None:
        self.parent, self.checkpoint, self.engine = parent, checkpoint, engine

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A temporary folder on that disk."""
        with tempfile.TemporaryDirectory(dir=self.parent, prefix="benchmark-") as name:
            yield Path(name)

    @contextmanager
    def serve(
        self, *options: str, base: Path | None = None, folder: Path | None = None
    ) -> Iterator[Served]:
        """Run a daemon on an empty folder and journal, or on those in `base`.

        It watches `folder` if given, else a folder in `base`.
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
                        raise NoDaemon(f"the daemon did not start: {said}")
                    time.sleep(0.0005)
                yield Served(base, folder, process.pid, time.perf_counter() - begin)
            finally:
                process.terminate()
                process.wait(PATIENCE_S)


class Subscriber:
    """Another program that subscribes to `topic` and does not use replay."""

    def __init__(self, served: Served, topic: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.rcvhwm = 0
        self._socket.subscribe(topic)
        self._socket.connect(f"ipc://{served.base}/p")

    def next(self, timeout: float = PATIENCE_S) -> tuple[float, dict[str, Any]]:
        """The moment (time.perf_counter) a message arrived, and the message."""
        if not self._socket.poll(max(1, round(1000 * timeout))):
            raise TimeoutError(f"no message arrived for {timeout:g} s")
        _, body = self._socket.recv_multipart()
        arrived = time.perf_counter()
        message: dict[str, Any] = json.loads(body)
        return arrived, message

    def count(self, messages: int) -> float:
        """Receive this many messages without decoding them; return the last one's arrival."""
        self._socket.rcvtimeo = round(1000 * PATIENCE_S)  # polling would double the cost of each
        try:
            for _ in range(messages):
                self._socket.recv_multipart()
        except zmq.Again:
            raise TimeoutError(f"no message arrived for {PATIENCE_S:g} s") from None
        return time.perf_counter()

    def settle(self, provoke: Callable[[int], object]) -> None:
        """Return when the subscription works; `provoke` makes the daemon send messages."""
        for attempt in range(200):
            provoke(attempt)
            try:
                self.next(0.3)
                break
            except TimeoutError:
                continue
        else:
            raise NoDaemon("no message from the daemon arrives")
        while True:  # discard the messages that `provoke` caused
            try:
                self.next(0.3)
            except TimeoutError:
                return

    def close(self) -> None:
        self._context.destroy(linger=0)


@contextmanager
def listening(served: Served, topic: str, provoke: Callable[[int], object]) -> Iterator[Subscriber]:
    """A subscriber whose subscription works (see `settle`)."""
    subscriber = Subscriber(served, topic)
    try:
        subscriber.settle(provoke)
        yield subscriber
    finally:
        subscriber.close()


def ask(served: Served, request: dict[str, Any]) -> list[bytes]:
    """Send one request to the daemon's replay endpoint; return the frames of the answer."""
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


def free_port() -> int:
    """A port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
