"""Metrics for Prometheus: the counts of one run and its status.

The home of prometheus_client, which is imported only if the setting `metrics` names an address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import asdict
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from daemon.monitoring.metrics import BOUNDS, HANDSHAKES, Histogram, Tally
from daemon.protocol.states import DaemonStatus, MicrophoneState

TEXT = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus' exposition format


def exposition(tally: Tally, status: Callable[[], DaemonStatus]) -> Callable[[], bytes]:
    """A function that gives the metrics as they are when it is called."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(tally, status))
    ProcessCollector(registry=registry)  # memory, descriptors, processor time
    return lambda: generate_latest(registry)


class _Collector:
    """Reads the tally and the status only when it is scraped."""

    def __init__(self, tally: Tally, status: Callable[[], DaemonStatus]) -> None:
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
            "tinyast_latency_seconds", "Time from a window's complete sound to its commit."
        )
        _add_histogram(latency, [], self._tally.latency)
        yield latency
        stages = HistogramMetricFamily(
            "tinyast_stage_seconds",
            "Time of each stage of the work.",
            labels=["stage"],
        )
        for name, histogram in dict(self._tally.stages).items():
            _add_histogram(stages, [name], histogram)
        yield stages

    def _state(self, status: DaemonStatus) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "tinyast",
            "Version and model.",
            {
                "version": status.version,
                **{f"model_{k}": v for k, v in asdict(status.model).items()},
            },
        )
        backlog = status.backlog
        for name, text, value in (
            ("backlog_files", "Files without an end state.", backlog.files),
            ("backlog_messages", "Messages not committed yet.", backlog.messages),
            ("blocked", "1 while the journal cannot be written.", bool(status.blocked)),
            ("seq", "The newest message's number.", max(status.last.values())),
            ("journal_bytes", "Size of the journal's file.", status.journal_bytes),
            (
                "progress_timestamp_seconds",
                "Time of the last commit.",
                status.progress,
            ),
        ):
            yield GaugeMetricFamily(f"tinyast_{name}", text, value=value)
        jobs = GaugeMetricFamily("tinyast_jobs", "Jobs waiting for a worker.", labels=["line"])
        for line, depth in status.jobs.items():
            jobs.add_metric([line], depth)
        yield jobs
        yield _counter("tinyast_replays", "Replay requests.", "result", asdict(status.replays))
        up, gaps = (
            GaugeMetricFamily("tinyast_source_up", "0 while a source is lost.", labels=["source"]),
            CounterMetricFamily("tinyast_gaps", "Gaps of live audio.", labels=["source"]),
        )
        for source in status.sources:
            up.add_metric([source.name], source.state != "lost")
            if isinstance(source, MicrophoneState):
                gaps.add_metric([source.name], source.gaps)
        yield up
        yield gaps
        yield from _connections(status.connections)


def _connections(endpoints: dict[str, dict[str, int]]) -> Iterator[Metric]:
    """The connections of each endpoint, and the results of their handshakes."""
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
