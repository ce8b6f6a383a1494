"""`tinyastd page`: follow daemons and serve the page until told to stop."""

from __future__ import annotations

import logging
import secrets
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import uvicorn

from daemon.errors import SettingsError, StartError
from daemon.page.follower import Connection, Follower
from daemon.page.store.writer import Limits, Store
from daemon.page.web.access import Gate, check_exposure, read_password, token_digest
from daemon.page.web.app import Page, build
from daemon.page.web.live import Hub

log = logging.getLogger(__name__)

PORT = 5757
MOST_CONNECTIONS = 500
IDLE_S = 20  # after which an idle connection is closed
STOP_S = 3  # for requests in hand at the end


@dataclass(frozen=True)
class Options:
    """How the page runs."""

    folder: Path  # of the store
    connections: Sequence[Connection] = (Connection(),)
    host: str = "127.0.0.1"
    port: int = PORT
    password_file: Path | None = None
    public_url: str = ""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    keep_days: float = 365.0
    keep_mb: float = 1000.0

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the page."""
        scheme = "https" if self.tls_cert else "http"
        return self.public_url or f"{scheme}://{self.host}:{self.port}/"


class _Server(uvicorn.Server):
    """uvicorn that ends the live streams when it is told to stop, since they have no end."""

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._stopping()
        super().handle_exit(sig, frame)


def make_token(folder: Path, name: str) -> str:
    """A new token for a program, which replaces an earlier one of that name."""
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


def serve(options: Options, announce: Callable[[str], None]) -> None:
    """Run until SIGTERM or SIGINT. Raises SettingsError or StartError."""
    password = None if options.password_file is None else read_password(options.password_file)
    check_exposure(options.host, password is not None)
    if (options.tls_cert is None) != (options.tls_key is None):
        raise SettingsError("--tls-cert and --tls-key go together")
    hosts = {options.host.strip("[]"), urlsplit(options.public_url).hostname or ""} - {""}
    with ExitStack() as stack:
        store = Store(options.folder, Limits(options.keep_days, options.keep_mb))
        stack.callback(store.close)
        hub, gate = Hub(), Gate(password, hosts)
        followers = [Follower(each, store, hub) for each in options.connections]
        server = _Server(_config(options, Page(store, hub, followers, gate)), hub.stop)
        for follower in followers:
            stack.callback(follower.join)
            follower.start()
            stack.callback(follower.stop)
        announce(options.url)
        # uvicorn stops on these signals and then raises them again for whoever had them before.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        server.run()
        if not server.started:
            raise StartError(
                f"the page cannot listen at {options.host}:{options.port}: it is taken"
            )


def _config(options: Options, page: Page) -> uvicorn.Config:
    return uvicorn.Config(
        build(page),
        host=options.host.strip("[]"),
        port=options.port,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=STOP_S,
        h11_max_incomplete_event_size=16_384,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
    )
