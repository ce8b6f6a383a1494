"""`tinyastd page` in a process, for tests to ask, to kill and to look at."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from running import SOON_S, Daemon, free_port

CHROMIUM = Path("/usr/bin/chromium")


class PageProcess:
    """A page that follows one or more daemons, with its store in `base`."""

    def __init__(self, base: Path, *daemons: Daemon, options: tuple[str, ...] = ()) -> None:
        self.store = base / "page"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = base / "page.log"
        places = [f"--connect={each.publish},{each.replay}" for each in daemons]
        self._command = [sys.executable, "-m", "daemon", "page", "--store", str(self.store)]
        self._command += ["--port", str(self.port), *places, *options]
        self._process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(base_url=self.url, timeout=30)

    def start(self) -> PageProcess:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self.wait_for(self._answers, "answering")
        return self

    def _answers(self) -> bool:
        try:
            return self.http.get("/api/v1/session").status_code == 200
        except httpx.TransportError:
            return False

    def wait_for(self, true: Callable[[], Any], what: str, timeout: float = SOON_S) -> Any:
        """Return what `true` gives once it is not false."""
        deadline = time.monotonic() + timeout
        while not (value := true()):
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"not {what}:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.02)
        return value

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(SOON_S)

    def clean_up(self) -> None:
        self.http.close()
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def get(self, path: str, **values: Any) -> Any:
        """The JSON answer of the API. Fails unless it is 200."""
        answer = self.http.get(f"/api/v1/{path}", params=values)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def predictions(self, count: int) -> list[dict[str, Any]]:
        """All predictions, once there are `count`."""
        found: list[dict[str, Any]] = self.wait_for(
            lambda: len(rows := self.get("predictions", limit=1000)) >= count and rows,
            f"{count} predictions",
        )
        return found

    @property
    def token(self) -> dict[str, str]:
        """The header that a write needs."""
        return {"X-Token": self.get("session")["token"]}
