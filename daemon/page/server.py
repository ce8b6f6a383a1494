"""`tinyastd page`: follow daemons and serve the page until told to stop."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import uvicorn

from daemon.client import Endpoints
from daemon.errors import SettingsError, StartError
from daemon.page.checking import check, check_place
from daemon.page.follower import Follower
from daemon.page.store.pictures import Pictures
from daemon.page.store.pruning import Limits
from daemon.page.store.writer import Store
from daemon.page.web.access import Gate, token_digest
from daemon.page.web.app import build
from daemon.page.web.connection import Connection
from daemon.page.web.live import Hub
from daemon.page.web.shared import Page
from daemon.settings.schema import Page as Settings

log = logging.getLogger(__name__)

IDLE_S = 10  # after which an idle connection is closed
STOP_S = 3  # for requests in hand at the end
NICE = 5  # the daemon's work goes before the page's


def address(settings: Settings) -> str:
    """The page's address for a browser on this machine."""
    scheme = "https" if settings.tls_cert else "http"
    return settings.public_url or f"{scheme}://{settings.host}:{settings.port}/"


class _Server(uvicorn.Server):
    """uvicorn that says when it listens, and ends the live streams when it is told to stop.

    The streams do not end.
    """

    def __init__(
        self, config: uvicorn.Config, started: Callable[[], None], stopping: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._started, self._stopping = started, stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._started()

    def give_up(self) -> None:
        """End soon. From any thread."""
        self._stopping()
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._stopping()
        super().handle_exit(sig, frame)


def make_token(folder: Path, name: str) -> str:
    """A new token for a program, which replaces an earlier one of that name.

    Raises SettingsError for an empty name.
    """
    if not name.strip():
        raise SettingsError("--token needs a name for the program, such as --token grafana")
    token = secrets.token_urlsafe(32)
    store = Store(folder)
    try:
        with store.write() as db:
            row = name, token_digest(token), round(1000 * time.time())
            db.execute("INSERT OR REPLACE INTO tokens VALUES (?, ?, ?)", row)
    finally:
        store.close()
    return token


def back_up(folder: Path, copy: Path) -> None:
    """Copy the store to a new file. Raises StartError if that exists."""
    store = Store(folder)
    try:
        store.backup(copy)
    finally:
        store.close()


def serve(
    settings: Settings,
    folder: Path,
    connections: Sequence[Endpoints],
    announce: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT, with a store in `folder`; `announce` gets the address.

    Raises SettingsError or StartError, and whatever ended a follower.
    """
    password = check(settings)
    check_place(settings, free=True)
    os.nice(NICE)
    hosts = {settings.host.strip("[]"), urlsplit(settings.public_url).hostname or ""} - {""}
    with ExitStack() as stack:
        store = Store(folder, Limits(settings.keep_days, settings.keep_mb))
        stack.callback(store.close)
        pictures = Pictures(folder, settings.keep_mb)
        stack.callback(pictures.close)
        place = f"{socket.gethostname()}:{settings.port} {folder.absolute()}"
        hub, gate = Hub(), Gate(password, hosts, place)
        followers = [Follower(each, store, pictures, hub) for each in connections]
        config = _config(settings, Page(store, pictures, hub, followers, gate))
        server = _Server(config, lambda: announce(address(settings)), hub.stop)
        # uvicorn takes these signals over, and raises them again for these handlers at its end.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.give_up())
        for follower in followers:
            follower.on_fault = server.give_up
            stack.callback(follower.join)
            follower.start()
            stack.callback(follower.stop)
        server.run()
        if not server.started:
            raise StartError(
                f"the page cannot listen at {settings.host}:{settings.port}; see the log line "
                "before this, or name another with --host and --port"
            )
        if (fault := next((each.fault for each in followers if each.fault), None)) is not None:
            raise fault


def _config(settings: Settings, page: Page) -> uvicorn.Config:
    return uvicorn.Config(
        build(page),
        host=settings.host.strip("[]"),
        port=settings.port,
        ssl_certfile=settings.tls_cert or None,
        ssl_keyfile=settings.tls_key or None,
        http=Connection,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=STOP_S,
        h11_max_incomplete_event_size=16_384,
        log_config=None,
        log_level="warning",  # the page says itself where it is
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
    )
