"""Serve `/metrics` for Prometheus, `/healthz` and `/readyz` over HTTP, within narrow bounds.

Off unless the setting `metrics` names an address. A client gets one answer to one small request,
soon or not at all: connections are bounded in number, for each address and in all, in bytes and in
time, and the pages in how often they are made.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO, cast

from daemon.errors import SettingsError, StartError
from daemon.host.tcp import HIGHEST_PORT, holder_of_port, is_loopback
from daemon.monitoring.metrics import Tally
from daemon.monitoring.prometheus import TEXT, exposition
from daemon.monitoring.service_thread import ServiceThread
from daemon.protocol.states import DaemonStatus

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 16  # each has a thread
MOST_OF_ADDRESS = 8
REQUEST_BYTES = 8_192  # request line and headers
CONNECTION_S = 10.0  # from the first byte asked for to the last byte sent
FRESH_S = 0.2  # how long one page serves all requests
POLL_S = 0.25
STALL_S = 60.0
NO_DESCRIPTOR_S = 0.1  # between attempts to accept while the process has no free descriptor


def parse_address(text: str, open_to_all: bool) -> tuple[str, int]:
    """`HOST:PORT` of the setting `metrics`. Raises SettingsError for what strangers could reach."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > HIGHEST_PORT:
        raise SettingsError(f"`metrics` is `{text}`; an address looks like 127.0.0.1:9755")
    if not is_loopback(host) and not open_to_all:
        raise SettingsError(
            f"`metrics` is `{text}`, which other machines can reach; use 127.0.0.1 with a proxy "
            "that checks who asks, or set `insecure = true` (--insecure)"
        )
    return host.strip("[]"), int(port)


class Web(ServiceThread):
    """Serves `status()`, as for `tinyastd status`, and `unwell()`: why the daemon is not well."""

    def __init__(
        self,
        address: tuple[str, int],
        tally: Tally,
        status: Callable[[], DaemonStatus],
        unwell: Callable[[], str | None],
    ) -> None:
        super().__init__("web", STALL_S)
        metrics = exposition(tally, status)
        pages = {
            "/metrics": _Page(lambda: (200, metrics())),
            "/healthz": _Page(lambda: _verdict(unwell())),
            "/readyz": _Page(lambda: _verdict(unwell() or _not_ready(status()))),
        }
        try:
            self._server = _Server(address, pages, self.liveness.progress)
        except OSError as error:
            raise StartError(
                f"metrics address {address[0]}:{address[1]} cannot be used ({error.strerror}); it "
                f"may be held by {holder_of_port(address[1])}"
            ) from error
        self.address = f"http://{address[0]}:{self._server.server_address[1]}"

    def work(self) -> None:
        self._server.serve_forever(poll_interval=POLL_S)

    def stop(self) -> None:
        super().stop()
        self._server.shutdown()

    def close(self) -> None:
        """Free the address, once the thread has ended or was never started."""
        self._server.server_close()


class _Page:
    """A page that is rendered once for all requests within FRESH_S."""

    def __init__(self, make: Callable[[], tuple[int, bytes]]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._made_at = -FRESH_S
        self._content: tuple[int, bytes] = (503, b"")

    def content(self) -> tuple[int, bytes]:
        """Status code and body."""
        with self._lock:
            if time.monotonic() - self._made_at >= FRESH_S:
                self._content = self._make()
                self._made_at = time.monotonic()
            return self._content


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(
        self, address: tuple[str, int], pages: dict[str, _Page], progress: Callable[[], None]
    ) -> None:
        self.pages, self._progress = pages, progress
        self._lock = threading.Lock()
        self._open: dict[socket.socket, tuple[str, float]] = {}  # address, time.monotonic() to end
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            time.sleep(NO_DESCRIPTOR_S)
            raise

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Take a connection if there is room for it."""
        with self._lock:
            addresses = [address for address, _ in self._open.values()]
            full = len(addresses) >= MOST_CONNECTIONS
            if full or addresses.count(client_address[0]) >= MOST_OF_ADDRESS:
                return False
            self._open[request] = (client_address[0], time.monotonic() + CONNECTION_S)
            return True

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End connections whose time is up; called between requests and several times a second."""
        self._progress()
        now = time.monotonic()
        with self._lock:
            late = [request for request, (_, until) in self._open.items() if now > until]
            for request in late:
                del self._open[request]
                with suppress(OSError):  # it has gone
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a connection to the metrics page broke", exc_info=True)


class _Bounded:
    """Lines of a request, REQUEST_BYTES in all."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left = file, REQUEST_BYTES

    def readline(self, limit: int = -1) -> bytes:
        line = self._file.readline(self._left if limit < 0 else min(limit, self._left))
        self._left -= len(line)
        return line

    def close(self) -> None:
        self._file.close()

    @property
    def closed(self) -> bool:
        return self._file.closed


class _Handler(BaseHTTPRequestHandler):
    timeout = CONNECTION_S
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.rfile = cast("Any", _Bounded(cast("BinaryIO", self.rfile)))

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path.partition("?")[0])
        code, body = (404, b"/metrics, /healthz and /readyz\n") if page is None else page.content()
        self.send_response(code)
        self.send_header("Content-Type", TEXT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass  # a scrape is no event


def _verdict(why_not: str | None) -> tuple[int, bytes]:
    return (200, b"ok\n") if why_not is None else (503, f"{why_not}\n".encode())


def _not_ready(status: DaemonStatus) -> str | None:
    """The reason why a new file would not be classified soon; None if it would."""
    if status.blocked:
        return f"the journal cannot be written: {status.blocked}"
    lost = [source.name for source in status.sources if source.state == "lost"]
    return f"lost: {', '.join(lost)}" if lost else None
