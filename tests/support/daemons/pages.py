"""`tinyastd page` in a process, for tests to ask, to kill and to look at."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import CommandProcess
from running import SOON_S, Daemon, free_port

from daemon.page.store.schema import FILE

CHROMIUM = Path("/usr/bin/chromium")


class PageProcess(CommandProcess):
    """A page that follows one or more daemons, with its store in `base`."""

    def __init__(self, base: Path, *daemons: Daemon, options: tuple[str, ...] = ()) -> None:
        self.store = base / "page"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        places = [f"--connect={each.publish},{each.replay}" for each in daemons]
        at = ("--store", str(self.store), "--port", str(self.port))
        super().__init__(base / "page.log", "page", *at, *places, *options)
        self.http = httpx.Client(base_url=self.url, timeout=SOON_S)

    def start(self) -> PageProcess:
        self.spawn()
        self.wait_for(self._answers, "answering")
        return self

    def _answers(self) -> bool:
        try:
            return self.http.get("/api/v1/session").status_code == 200
        except httpx.TransportError:
            return False

    def clean_up(self) -> None:
        self.http.close()
        super().clean_up()

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

    def cursor(self, daemon: Daemon) -> tuple[str | None, int]:
        """Journal and `seq` of the newest message of a daemon that it has stored."""
        with closing(sqlite3.connect(f"file:{self.store / FILE}?mode=ro", uri=True)) as db:
            query = "SELECT journal, seq FROM daemons WHERE endpoint = ?"
            found: tuple[str | None, int] = db.execute(query, (daemon.publish,)).fetchone()
        return found

    def catch_up(self, daemon: Daemon, newest: int | None = None, timeout: float = SOON_S) -> None:
        """Wait until it has stored all that a daemon has published, or all up to `newest`."""
        last = daemon.newest() if newest is None else newest
        self.wait_for(lambda: self.cursor(daemon)[1] >= last, "all stored", timeout)

    @property
    def token(self) -> dict[str, str]:
        """The header that a write needs."""
        return {"X-Token": self.get("session")["token"]}


def review_all(
    page: PageProcess, count: int, label_of: Callable[[Path], str | None], archive: Path
) -> Path:
    """Review each sound in Chromium, and export into the zip `archive`.

    `label_of` names a file's sound; None: it is of no interest.
    """
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto(f"{page.url}/#/review")
        panel = tab.locator("section[data-number]")
        for done in range(1, count + 1):
            panel.wait_for()
            row = page.get(f"predictions/{panel.get_attribute('data-number')}")
            label = label_of(Path(row["path"]))
            if label is None:
                tab.locator("main").press("i")
            else:
                tab.get_by_label("Another label, known or new").fill(label)
                tab.keyboard.press("Enter")
            tab.get_by_text(f"Reviewed just now: {done}.").wait_for()
        with tab.expect_download() as download:
            tab.get_by_role("link", name="Export the reviewed sounds").click()
        download.value.save_as(archive)
        browser.close()
    return archive
