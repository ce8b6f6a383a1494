"""The page: its views over a large store, its memory, and its cost to the daemon beside it."""

from __future__ import annotations

import http.client
import json
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from scripts.benchmark.figures import Counts, Figure
from scripts.benchmark.machine import memory_mb
from scripts.benchmark.parts.load import KINDS, capacity, heard
from scripts.benchmark.served import PATIENCE_S, Bed, NoDaemon, free_port
from scripts.benchmark.sound import recording
from scripts.benchmark.stored import fill

BROWSERS = 20  # on the live stream
DAY_MS = 86_400_000


@dataclass
class ServedPage:
    """A page that answers."""

    pid: int
    port: int

    def ask(self, path: str, **values: object) -> tuple[float, bytes]:
        """The milliseconds that a request took, and its answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        query = urlencode(values)
        begin = time.perf_counter()
        connection.request("GET", f"/api/v1/{path}?{query}")
        answer = connection.getresponse()
        data = answer.read()
        took = 1000 * (time.perf_counter() - begin)
        connection.close()
        if answer.status != 200:
            raise NoDaemon(f"the page answers {path} with {answer.status}: {data[:200]!r}")
        return took, data


def measure(bed: Bed, counts: Counts) -> list[Figure]:
    return [*_views(bed, counts), *_beside(bed, counts)]


@contextmanager
def serve_page(base: Path) -> Iterator[ServedPage]:
    """Run a page that follows the daemon in `base`, if there is one."""
    port = free_port()
    command = [sys.executable, "-m", "daemon", "page", "--store", str(base / "page")]
    command += ["--connect", f"ipc://{base}/p,ipc://{base}/r", "--port", str(port)]
    with (
        (base / "page.log").open("ab") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            page = ServedPage(process.pid, port)
            deadline = time.perf_counter() + PATIENCE_S
            while True:
                try:
                    page.ask("session")
                    break
                except OSError:
                    if process.poll() is not None or time.perf_counter() > deadline:
                        said = (base / "page.log").read_text(errors="replace")
                        raise NoDaemon(f"the page did not start: {said[-2000:]}") from None
                    time.sleep(0.01)
            yield page
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


# -- views ---------------------------------------------------------------------------------------


def requests(page: ServedPage) -> dict[str, tuple[str, dict[str, object]]]:
    """What each view asks for, with and without filters: path and parameters."""
    labels = json.loads(page.ask("labels")[1])
    common, rare = labels[0]["label"], labels[-1]["label"]
    newest = json.loads(page.ask("predictions", limit=1)[1])[0]
    day = time.strftime("%Y-%m-%d", time.gmtime(newest["at"] / 1000 - 86_400))
    span: dict[str, object] = {"since": newest["at"] - 2 * DAY_MS, "until": newest["at"] - DAY_MS}
    return {
        "now": ("now", {}),
        "day, heat map": ("heatmap", {"day": day, "zone": "Europe/Berlin"}),
        "day, list": ("predictions", span),
        "day, a rare label": ("predictions", {**span, "label": rare, "decision": "accepted"}),
        "day, no such text": ("predictions", {**span, "text": "no such text"}),
        "day, best scores": ("predictions", {**span, "min_score": 0.9999}),
        "label, names": ("labels", {}),
        "label, calendar": ("days", {"label": common, "days": 60, "zone": "Europe/Berlin"}),
        "label, thresholds": ("scores", {"label": common, "days": 60}),
        "review": ("review", {"limit": 50}),
        "health, a day": ("health", {}),
        "health, a month": ("health", {"days": 30}),
        "statuses": ("statuses", {}),
        "gaps": ("gaps", {}),
        "files": ("files", {"limit": 50}),
        "events": ("events", {}),
    }


def _views(bed: Bed, counts: Counts) -> list[Figure]:
    """Every view's requests, one at a time, over a store of `counts.stored` predictions."""
    with bed.folder() as base:
        with serve_page(base):
            pass  # it makes the store
        grew = fill(base / "page", counts.stored, counts.stored // 20)
        figures = []
        with serve_page(base) as page:
            for name, (path, values) in requests(page).items():
                took = tuple(page.ask(path, **values)[0] for _ in range(counts.slow_rounds))
                figures.append(Figure(f"view: {name}", "ms", took))
            figures.append(Figure("memory after all views", "MB", (memory_mb(page.pid),)))
    size = Figure("store, for each prediction", "B", (grew / counts.stored,))
    return [Figure("predictions in the store", "", (counts.stored,)), size, *figures]


# -- beside a daemon -----------------------------------------------------------------------------


def _beside(bed: Bed, counts: Counts) -> list[Figure]:
    """Floods with and without a page that has browsers on its live stream, in turn."""
    sounds = [recording(kind) for kind in range(KINDS)]
    alone, beside, memory = [], [], []
    with bed.serve() as served, heard(served, sounds[0]) as subscriber:
        flood: Callable[[int], float] = lambda n: capacity(  # noqa: E731
            served, subscriber, sounds, counts.flood // counts.floods, f"flood-{n}"
        )
        flood(0)  # to warm up
        for turn in range(counts.floods):
            alone.append(flood(2 * turn + 1))
            with serve_page(served.base) as page, _browsers(page):
                beside.append(flood(2 * turn + 2))
                memory.append(memory_mb(page.pid))
    ratio = tuple(b / a for a, b in zip(alone, beside, strict=True))
    return [
        Figure("files a second without a page", "/s", tuple(alone)),
        Figure(f"files a second beside a page with {BROWSERS} browsers", "/s", tuple(beside)),
        Figure("the second over the first", "", ratio),
        Figure("memory of that page", "MB", tuple(memory)),
    ]


@contextmanager
def _browsers(page: ServedPage) -> Iterator[None]:
    """Connections that read the live stream, as browsers do."""
    sockets = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(BROWSERS)]
    for each in sockets:
        each.sendall(b"GET /api/v1/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        each.setblocking(False)
    done = threading.Event()

    def drain() -> None:
        with selectors.DefaultSelector() as chosen:
            for each in sockets:
                chosen.register(each, selectors.EVENT_READ)
            while not done.is_set():
                for key, _ in chosen.select(0.1):
                    if not key.fileobj.recv(1 << 16):  # type: ignore[union-attr]
                        chosen.unregister(key.fileobj)

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        for each in sockets:
            each.close()
