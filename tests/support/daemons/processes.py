"""A command of `tinyastd` in a process, for tests to wait for, to kill and to stop."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from running import ROOT, SOON_S


class CommandProcess:
    """One that can be started again and again. It writes to the file `log`."""

    def __init__(self, log: Path, *command: str) -> None:
        self.log = log
        self._command = [sys.executable, "-m", "daemon", *command]
        self._process: subprocess.Popen[bytes] | None = None

    def spawn(self, *options: str) -> None:
        """Start without waiting."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, *options], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                cwd=ROOT,
            )  # fmt: skip

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def text(self) -> str:
        """All that it wrote."""
        return self.log.read_text()

    def wait_for(self, true: Callable[[], Any], what: str, timeout: float = SOON_S) -> Any:
        """Return what `true` gives once it is not false; fail if the process ends before."""
        deadline = time.monotonic() + timeout
        while not (value := true()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"not {what}:\n{self.text[-3000:]}")
            time.sleep(0.02)
        return value

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.terminate()
        return self.process.wait(SOON_S)

    def clean_up(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
