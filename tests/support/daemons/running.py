"""A real daemon in a separate process, for tests to start, talk to, stop and kill."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon.client import Client, Received, ask_status

ROOT = Path(__file__).resolve().parents[3]
SUPPORT = ROOT / "tests" / "support"
# For a process with the tests' import path.
PYTHON_PATH = os.pathsep.join(map(str, [ROOT, SUPPORT.parent, *sorted(SUPPORT.iterdir())]))

READY_S = 60.0  # generous: CI machines are slow, and no test waits this long for a good daemon
SOON_S = 60.0

# Stress counts are given in full; TINYAST_STRESS is the share of them that is run.
STRESS = float(os.environ.get("TINYAST_STRESS", "0.05"))


def stress(full: int, least: int = 1) -> int:
    """The share of a full count that this run asks for."""
    return max(least, round(full * STRESS))


def tinyastd(
    *arguments: object,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "daemon", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "COLUMNS": "200", "PYTHONPATH": str(ROOT), **(env or {})},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
    )


def free_port() -> int:
    """A free TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Daemon:
    """`tinyastd run` on a folder and a state directory, with separate endpoints.

    Endpoints are ipc sockets in the state directory, so that tests never meet each other.
    """

    def __init__(self, base: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.base = base
        self.folder = base / "in"
        self.state = base / "state"
        self.folder.mkdir(exist_ok=True)
        self.publish = f"ipc://{base}/p"
        self.replay = f"ipc://{base}/r"
        self.options = list(options)
        self.env = {**os.environ, **(env or {})}
        self.log = base / "daemon.log"
        self._process: subprocess.Popen[bytes] | None = None

    # -- its life ------------------------------------------------------------------------------

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def command(self) -> list[str]:
        command = [sys.executable, "-m", "daemon", "run"]
        if "--config" not in self.options:
            command += ["--watch", str(self.folder)]
        command += ["--state", str(self.state), "--publish", self.publish]
        return [*command, "--replay", self.replay, *self.options]

    def spawn(self) -> None:
        """Start without waiting."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.env
            )

    def start(self) -> Daemon:
        """Start, and return when it says that it is ready."""
        seen = self.log.stat().st_size if self.log.exists() else 0
        self.spawn()
        self.wait_for(lambda: b"ready" in self.log.read_bytes()[seen:], "ready", READY_S)
        return self

    def wait_for(self, true: Callable[[], Any], what: str, timeout: float = SOON_S) -> Any:
        """Return what `true` gives once it is not false; fail if the daemon ends before."""
        deadline = time.monotonic() + timeout
        while not (value := true()):
            if self.process.poll() is not None:
                raise AssertionError(f"it ended ({self.process.returncode}):\n{self.tail()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not {what} within {timeout:g} s:\n{self.tail()}")
            time.sleep(0.01)
        return value

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, timeout: float = SOON_S) -> int:
        """SIGTERM; its exit code."""
        self.send(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def clean_up(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self.kill()

    def newest(self) -> int:
        """The `seq` of the newest message."""
        last: dict[str, int] = self.status()["last"]
        return max(last.values())

    def memory(self) -> int:
        """Resident bytes."""
        return int(self._status_field("VmRSS")) * 1024

    def peak_memory(self) -> int:
        """The most bytes that were resident at once."""
        return int(self._status_field("VmHWM")) * 1024

    def _status_field(self, name: str) -> str:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return line.split()[1]
        raise AssertionError(name)

    # -- its messages --------------------------------------------------------------------------

    def client(self, since: int | None = 0, *topics: str) -> Client:
        return Client(self.publish, self.replay, since, topics or ("tinyast.v1.",))

    def hear(
        self, enough: Callable[[list[Received]], Any], since: int = 0, timeout: float = SOON_S
    ) -> list[Received]:
        """All messages since `since`, once `enough` says so of them.

        Fails after `timeout` seconds without a message: a busy machine needs longer for many.
        """
        heard: list[Received] = []
        deadline = time.monotonic() + timeout
        with self.client(since) as client:
            while not enough(heard):
                if self.process.poll() is not None:
                    raise AssertionError(f"it ended ({self.process.returncode}):\n{self.tail()}")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(
                        f"not heard, and nothing else for {timeout:g} s; heard "
                        f"{[r.topic for r in heard][-20:]}\n{self.tail()}"
                    )
                received = client.receive(min(left, 1.0))
                if received is not None:
                    heard.append(received)
                    deadline = time.monotonic() + timeout
        return heard

    def ends(self, count: int, since: int = 0, timeout: float = SOON_S) -> list[dict[str, Any]]:
        """The first `count` end states of files since `since`."""
        ended = counting(lambda m: m["type"] == "file")
        heard = self.hear(lambda r: ended(r) >= count, since, timeout)
        return of_type(heard, "file")

    def quiet(self, marker: Path, since: int = 0) -> list[dict[str, Any]]:
        """All messages since `since`, once `marker`, a file made just now, has its end state.

        What was dropped before the marker has been noticed by then, without sleeping, and has
        its own end state once no file waits any more.
        """
        name = str(marker)
        ended = counting(lambda m: m["type"] == "file" and m["source"]["path"] == name)
        self.hear(ended, since)
        self.wait_for(lambda: self.status()["backlog"] == {"files": 0, "messages": 0}, "idle")
        newest = self.newest()
        heard = self.hear(lambda r: r and r[-1].message["seq"] >= newest, since)
        return [r.message for r in heard]

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = ask_status(self.replay, timeout=SOON_S)
        return status

    def logged(self) -> list[dict[str, Any]]:
        """Log lines, which are JSON as standard error is no terminal."""
        whole = self.log.read_text().rpartition("\n")[0]  # the last line may be in the making
        return [json.loads(line) for line in whole.splitlines() if line[:1] == "{"]


def counting(wanted: Callable[[dict[str, Any]], bool]) -> Callable[[list[Received]], int]:
    """How many of a list's messages are wanted; asked again of a longer list, it looks on."""
    seen = found = 0

    def so_far(heard: list[Received]) -> int:
        nonlocal seen, found
        found += sum(wanted(received.message) for received in heard[seen:])
        seen = len(heard)
        return found

    return so_far


def of_type(heard: list[Received], kind: str) -> list[dict[str, Any]]:
    return [r.message for r in heard if r.message["type"] == kind]
