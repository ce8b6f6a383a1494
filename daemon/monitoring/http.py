"""Seen from outside over HTTP: `/metrics` for Prometheus, `/healthz` and `/readyz`.

Off unless the setting `metrics` names an address; the home of prometheus_client.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from daemon.errors import SettingsError, StartError
from daemon.host.tcp import holder_of_port, is_loopback
from daemon.monitoring.metrics import BOUNDS, HANDSHAKES, Histogram, Tally

TEXT = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus' exposition format
TIMEOUT_S = 10.0  # for a client to say what it wants


def parse_address(text: str, open_to_all: bool) -> tuple[str, int]:
    """`HOST:PORT` of the setting `metrics`. Raises SettingsError for what strangers could reach."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise SettingsError(f"`metrics` is `{text}`; an address looks like 127.0.0.1:9755")
    if not is_loopback(host) and not open_to_all:
        raise SettingsError(
            f"`metrics` is `{text}`, which other machines can reach; use 127.0.0.1 with a proxy "
            "that asks who they are, or say `insecure = true` (--insecure)"
        )
    return host.strip("[]"), int(port)


class Web(threading.Thread):
    """Serves what it is given to tell: `status()` as for `tinyastd status`, `unwell()` why not."""

    def __init__(
        self,
        address: tuple[str, int],
        tally: Tally,
        status: Callable[[], dict[str, Any]],
        unwell: Callable[[], str | None],
    ) -> None:
        super().__init__(name="web")
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(tally, status))
        ProcessCollector(registry=registry)  # memory, descriptors, processor time

        class Handler(_Handler):
            pages = {  # noqa: RUF012 - one class for one server
                "/metrics": lambda: (200, generate_latest(registry)),
                "/healthz": lambda: _verdict(unwell()),
                "/readyz": lambda: _verdict(unwell() or _not_ready(status())),
            }

        try:
            self._server = ThreadingHTTPServer(address, Handler)
        except OSError as error:
            raise StartError(
                f"metrics address {address[0]}:{address[1]} cannot be used ({error.strerror}); it "
                f"may be held by {holder_of_port(address[1])}"
            ) from error
        self._server.daemon_threads = True
        self.address = f"http://{address[0]}:{self._server.server_address[1]}"

    def run(self) -> None:
        self._server.serve_forever(poll_interval=0.25)

    def stop(self) -> None:
        if self.is_alive():
            self._server.shutdown()
            self.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    pages: dict[str, Callable[[], tuple[int, bytes]]]
    timeout = TIMEOUT_S

    def do_GET(self) -> None:
        page = self.pages.get(self.path.partition("?")[0])
        code, body = (404, b"/metrics, /healthz and /readyz\n") if page is None else page()
        self.send_response(code)
        self.send_header("Content-Type", TEXT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass  # a scrape is no event


def _verdict(why_not: str | None) -> tuple[int, bytes]:
    return (200, b"ok\n") if why_not is None else (503, f"{why_not}\n".encode())


def _not_ready(status: dict[str, Any]) -> str | None:
    """Why a new file would not be classified and published soon."""
    if status["blocked"]:
        return f"the journal cannot be written: {status['blocked']}"
    lost = [source["name"] for source in status["sources"] if source["state"] == "lost"]
    return f"lost: {', '.join(lost)}" if lost else None


class _Collector:
    """Reads the tally and the status when it is scraped, so that nothing is paid before."""

    def __init__(self, tally: Tally, status: Callable[[], dict[str, Any]]) -> None:
        self._tally, self._status = tally, status

    def collect(self) -> Iterator[Metric]:
        yield from self._counts()
        yield from self._durations()
        yield from self._state(self._status())

    def _counts(self) -> Iterator[Metric]:
        tally = self._tally
        files = {k[5:]: n for k, n in dict(tally.messages).items() if k.startswith("file.")}
        yield _counter("tinyast_files", "File versions by end state.", "state", files)
        yield _counter(
            "tinyast_messages", "Messages published, by kind.", "kind", dict(tally.messages)
        )
        yield _counter(
            "tinyast_accepted", "Accepted predictions by label.", "label", dict(tally.accepted)
        )
        yield _counter(
            "tinyast_rejected", "Rejected predictions by reason.", "reason", dict(tally.rejected)
        )

    def _durations(self) -> Iterator[Metric]:
        latency = HistogramMetricFamily(
            "tinyast_latency_seconds", "From a window's sound being there to its commit."
        )
        _add_histogram(latency, [], self._tally.latency)
        yield latency
        stages = HistogramMetricFamily(
            "tinyast_stage_seconds",
            "Time of a stage of the work.",
            labels=["stage"],
        )
        for name, histogram in dict(self._tally.stages).items():
            _add_histogram(stages, [name], histogram)
        yield stages

    def _state(self, status: dict[str, Any]) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "tinyast",
            "Version and model.",
            {"version": status["version"], **{f"model_{k}": v for k, v in status["model"].items()}},
        )
        backlog = status["backlog"]
        for name, text, value in (
            ("backlog_files", "Files without an end state.", backlog["files"]),
            ("backlog_messages", "Messages to be committed.", backlog["messages"]),
            ("blocked", "1 while the journal cannot be written.", bool(status["blocked"])),
            ("seq", "The newest message's number.", max(status["last"].values())),
            ("journal_bytes", "Size of the journal's file.", status["journal_bytes"]),
            (
                "progress_timestamp_seconds",
                "Time of the last commit.",
                status["progress"],
            ),
        ):
            yield GaugeMetricFamily(f"tinyast_{name}", text, value=value)
        jobs = GaugeMetricFamily("tinyast_jobs", "Jobs waiting for a worker.", labels=["line"])
        for line, depth in status["jobs"].items():
            jobs.add_metric([line], depth)
        yield jobs
        yield _counter("tinyast_replays", "Replay requests.", "result", status["replays"])
        up, gaps = (
            GaugeMetricFamily("tinyast_source_up", "0 while a source is lost.", labels=["source"]),
            CounterMetricFamily("tinyast_gaps", "Gaps of live audio.", labels=["source"]),
        )
        for source in status["sources"]:
            up.add_metric([source["name"]], source["state"] != "lost")
            if source["kind"] == "mic":
                gaps.add_metric([source["name"]], source["gaps"])
        yield up
        yield gaps
        yield from _connections(status["connections"])


def _connections(endpoints: dict[str, dict[str, int]]) -> Iterator[Metric]:
    """Who is connected to each endpoint, and how those who tried have fared."""
    labels = ["endpoint"]
    now = GaugeMetricFamily("tinyast_connections", "Open connections.", labels=labels)
    subscribers = GaugeMetricFamily(
        "tinyast_subscribers", "Connections past the handshake.", labels=labels
    )
    accepted = CounterMetricFamily(
        "tinyast_connections_accepted", "Connections taken.", labels=labels
    )
    handshakes = CounterMetricFamily(
        "tinyast_handshakes", "Handshakes by result.", labels=["endpoint", "result"]
    )
    for name, counts in endpoints.items():
        now.add_metric([name], counts["open"])
        subscribers.add_metric([name], counts["subscribers"])
        accepted.add_metric([name], counts["accepted"])
        for result in HANDSHAKES:
            handshakes.add_metric([name, result], counts[result])
    yield from (now, subscribers, accepted, handshakes)


def _counter(name: str, text: str, label: str, values: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _add_histogram(family: HistogramMetricFamily, labels: list[str], of: Histogram) -> None:
    buckets: list[tuple[str, float]] = []
    so_far = 0
    bounds: Iterable[str] = [*(str(bound) for bound in BOUNDS), "+Inf"]
    for bound, count in zip(bounds, list(of.buckets), strict=True):
        so_far += count
        buckets.append((bound, so_far))
    family.add_metric(labels, buckets, of.total_s)
