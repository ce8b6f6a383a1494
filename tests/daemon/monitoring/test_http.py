"""Metrics and health over HTTP."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from running import SOON_S, Daemon, free_port
from sounds import write_wav

from daemon.errors import SettingsError
from daemon.monitoring.http import parse_address

MakeDaemon = Callable[..., Daemon]


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=SOON_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def port() -> int:
    return free_port()


def test_metrics_count_what_was_published(daemon: MakeDaemon, port: int) -> None:
    listening = daemon("--metrics", f"127.0.0.1:{port}").start()
    for number in range(3):
        write_wav(listening.folder / f"{number}.wav", seed=number)
    (listening.folder / "bad.wav").write_bytes(b"no audio")
    listening.ends(4)
    # Each is counted after it was published.
    all_of_it: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {
        ("tinyast_files_total", (("state", "failed"),)): 1,
        ("tinyast_files_total", (("state", "done"),)): 3,
        ("tinyast_stage_seconds_count", (("stage", "read"),)): 3,
        ("tinyast_stage_seconds_count", (("stage", "step"),)): 1,  # of several files if they queue
    }
    told = listening.wait_for(
        lambda: (
            (found := samples(get(port, "/metrics")[1]))
            and all(found.get(name, 0) >= count for name, count in all_of_it.items())
            and found
        ),
        "counted",
    )
    assert told["tinyast_files_total", (("state", "failed"),)] == 1
    assert told["tinyast_files_total", (("state", "done"),)] == 3
    assert told["tinyast_messages_total", (("kind", "prediction"),)] == 3
    decided = [
        value
        for (name, _), value in told.items()
        if name in ("tinyast_accepted_total", "tinyast_rejected_total")
    ]
    assert sum(decided) == 3
    assert told["tinyast_latency_seconds_count", ()] == 3
    assert told["tinyast_latency_seconds_bucket", (("le", "+Inf"),)] == 3
    assert told["tinyast_seq", ()] == max(listening.status()["last"].values())
    assert told["tinyast_source_up", (("source", "in"),)] == 1
    assert told["tinyast_blocked", ()] == 0
    assert told["tinyast_journal_bytes", ()] > 0


def test_health_and_readiness_tell_the_truth(daemon: MakeDaemon, port: int) -> None:
    listening = daemon("--metrics", f"127.0.0.1:{port}").start()
    assert get(port, "/healthz") == (200, "ok\n")
    assert get(port, "/readyz") == (200, "ok\n")
    assert get(port, "/")[0] == 404
    shutil.rmtree(listening.folder)
    listening.wait_for(lambda: get(port, "/readyz")[0] == 503, "unready without its folder")
    assert "in" in get(port, "/readyz")[1]
    assert get(port, "/healthz")[0] == 200, "a lost folder is mended by no restart"
    listening.folder.mkdir()
    listening.wait_for(lambda: get(port, "/readyz")[0] == 200, "ready again")
    listening.send(signal.SIGTERM)
    assert listening.process.wait(SOON_S) == 0


def test_a_taken_port_is_said_so_and_nothing_is_left_behind(daemon: MakeDaemon, port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        listening = daemon("--metrics", f"127.0.0.1:{port}")
        ended = subprocess.run(listening.command(), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 3
    assert f"process {os.getpid()}" in ended.stderr
    listening.start()


def test_strangers_cannot_reach_it_by_a_slip() -> None:
    for address in ("0.0.0.0:9755", ":9755", "192.0.2.1:9755", "127.0.0.1", "localhost:http"):
        with pytest.raises(SettingsError):
            parse_address(address, open_to_all=False)
    assert parse_address("0.0.0.0:9755", open_to_all=True) == ("0.0.0.0", 9755)
    assert parse_address("[::1]:9755", open_to_all=False) == ("::1", 9755)


def test_it_is_off_by_default_and_costs_no_import(daemon: MakeDaemon, tmp_path: Path) -> None:
    listening = daemon().start()
    maps = Path(f"/proc/{listening.process.pid}/task").iterdir()
    names = {(task / "comm").read_text().strip() for task in maps}
    assert "web" not in names
