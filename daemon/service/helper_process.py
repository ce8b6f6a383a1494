"""The process of a helper: start it, read its lines, notice its end."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from daemon.host.parent import READY, TROUBLE, VARIABLE

READY_S = 60.0  # for a helper to say that it is ready; one that takes longer hangs
END_S = 5.0  # for a helper to end after SIGTERM
REMARK = 1_000  # characters of a line that a helper writes
UNSET_FOR_CHILD = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")  # they are the daemon's own


@dataclass(frozen=True)
class Helper:
    """A process to run beside the daemon. If one changes at a reload, it is started again."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    table: object = None  # its part of the settings
    settings: bytes = field(default=b"", compare=False, repr=False)  # all of them, as JSON


class HelperProcess:
    """One process. Raises OSError if it cannot be started."""

    def __init__(self, helper: Helper) -> None:
        self.process = begin(helper)
        assert self.process.stdout is not None
        self.output: IO[bytes] = self.process.stdout
        os.set_blocking(self.output.fileno(), False)
        self.ready: str | None = None  # its words when it was ready
        self.troubles: list[str] = []  # that it lives with, to be published
        self._began = time.monotonic()
        self._line = b""
        self._remark = ""

    @property
    def age(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self._began

    def listen(self) -> None:
        """Read the lines that it has written."""
        while not self.output.closed:
            try:
                data = os.read(self.output.fileno(), 4096)
            except BlockingIOError:
                return
            if not data:
                self.output.close()
            *lines, self._line = (self._line[-REMARK:] + data).split(b"\n")
            for line in lines:
                text = line[:REMARK].decode("utf-8", "replace").strip()
                if text.startswith(READY):
                    self.ready = text.removeprefix(READY)
                elif text.startswith(TROUBLE):
                    self.troubles.append(text.removeprefix(TROUBLE))
                elif text:
                    self._remark = text  # why it is about to end

    def end(self) -> tuple[str, str] | None:
        """How it ended, by a code and in words; None while it runs. Ends one that hangs."""
        if (status := self.process.poll()) is None:
            if self.ready is not None or self.age < READY_S:
                return None
            self.kill()
            return "hung", f"it was not ready after {READY_S:.0f} s"
        self.output.close()
        if status < 0:
            return "killed", f"it was ended by {_name(-status)}"
        reason = f": {self._remark}" if self._remark else ""
        return "ended", f"it ended with {status}{reason}"

    def kill(self) -> None:
        self.process.kill()
        with suppress(subprocess.TimeoutExpired):  # the system holds it: it ends later
            self.process.wait(END_S)
        self.output.close()


def end_all(children: Sequence[HelperProcess | None]) -> None:
    """End these: SIGTERM, and SIGKILL to those that are still there after a while."""
    running = [child for child in children if child is not None]
    for child in running:
        child.process.terminate()
    deadline = time.monotonic() + END_S
    for child in running:
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(max(0.0, deadline - time.monotonic()))
        child.kill()


def begin(helper: Helper, *options: str, stderr: int | None = None) -> subprocess.Popen[bytes]:
    """Start its command, which reads all settings from standard input. Raises OSError."""
    environment = {**os.environ, **helper.environment, VARIABLE: str(os.getpid())}
    for name in UNSET_FOR_CHILD:
        environment.pop(name, None)
    with _readable(helper.settings) as settings:
        return subprocess.Popen(
            [*helper.argv, *options],
            stdin=settings,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            process_group=0,  # Ctrl-C is for the daemon, which stops its helpers last
        )


def _readable(content: bytes) -> IO[bytes]:
    """A file with `content`, in memory if the system has such files, to be read from its start."""
    file: IO[bytes]
    if hasattr(os, "memfd_create"):
        file = os.fdopen(os.memfd_create("settings"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115
    file.write(content)
    file.seek(0)
    return file


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
