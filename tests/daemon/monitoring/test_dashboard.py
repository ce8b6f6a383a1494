"""config/grafana-dashboard.json: it asks only for metrics that a daemon has."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from conftest import ROOT
from prometheus_client.parser import text_string_to_metric_families
from running import Daemon, free_port
from sounds import write_wav
from test_http import get

BOARD: dict[str, Any] = json.loads((ROOT / "config" / "grafana-dashboard.json").read_bytes())
# Words of PromQL in places that could hold the name of a metric or label.
WORDS = {"sum", "by", "rate", "increase", "topk", "histogram_quantile", "time", "and", "on"}


def queries() -> Iterator[str]:
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"]
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield re.sub(r"label_values\((\w+), \w+\)", r"\1", variable["query"]["query"])


def metrics_in(query: str) -> set[str]:
    """Names of metrics in a query, without selectors, groupings and functions."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|on) \([^)]*\)", "", query)
    return set(re.findall(r"[a-zA-Z_:][\w:]*", bare)) - WORDS


def labels_in(query: str) -> set[str]:
    """Names of labels that a query selects or groups by."""
    grouped = re.findall(r"\b(?:by|on) \(([^)]*)\)", query)
    selected = re.findall(r"(\w+)(?:=~|!=|=)\"", query)
    return {name.strip() for names in grouped for name in names.split(",")} | set(selected)


def told(text: str) -> tuple[set[str], set[str]]:
    """The names of all metrics in an answer of /metrics, and of their labels."""
    names, labels = set(), {"instance", "job"}  # which Prometheus adds
    for family in text_string_to_metric_families(text):
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        names |= {family.name + ending for ending in endings.get(family.type, [""])}
        for sample in family.samples:
            labels |= set(sample.labels)
    return names, labels


def test_every_query_names_metrics_and_labels_that_exist(daemon: Callable[..., Daemon]) -> None:
    port = free_port()
    listening = daemon("--metrics", f"127.0.0.1:{port}").start()
    write_wav(listening.folder / "a.wav")
    write_wav(listening.folder / "b.wav", seed=1)
    listening.ends(2)
    listening.wait_for(lambda: "tinyast_files_total{" in get(port, "/metrics")[1], "counted")
    names, labels = told(get(port, "/metrics")[1])
    labels |= {"label", "reason"}  # which of the two is there depends on the sounds
    asked = list(queries())
    assert len(asked) > 20
    for query in asked:
        assert metrics_in(query), query
        assert metrics_in(query) <= names, query
        assert labels_in(query) <= labels, query
    ours = {name for name in names if name.startswith("tinyast_")}
    shown = set().union(*map(metrics_in, asked))
    unseen = {re.sub(r"_(bucket|sum|count)$", "", name) for name in ours - shown}
    unseen -= {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert unseen == {"tinyast_info", "tinyast_connections_accepted_total"}


def test_a_name_that_nobody_tells_would_be_found() -> None:
    query = 'topk(3, sum by (label) (rate(tinyast_barks_total{instance=~"$instance"}[5m])))'
    assert metrics_in(query) == {"tinyast_barks_total"}
    assert labels_in(query) == {"label", "instance"}


def test_panels_do_not_overlap_and_have_a_title_and_words() -> None:
    taken = set()
    for panel in BOARD["panels"]:
        assert panel["title"]
        assert panel["description"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, panel["title"]
                taken.add((x, y))
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_the_table_in_the_docs_has_every_metric(daemon: Callable[..., Daemon]) -> None:
    port = free_port()
    listening = daemon("--metrics", f"127.0.0.1:{port}").start()
    text = (ROOT / "docs" / "operations.md").read_text()
    listening.client(None).close()
    for family in text_string_to_metric_families(get(port, "/metrics")[1]):
        if family.name.startswith("tinyast_"):
            assert f"`{family.name}" in text, family.name
