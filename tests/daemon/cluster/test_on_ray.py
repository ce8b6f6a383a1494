"""`tinyastd classify --on ray` on a real cluster of several nodes, some of which die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from archives import Row, alone, archive, long_stereo, names_in, rows
from clusters import Nodes
from running import STRESS, free_port
from sounds import write_wav

FOLDERS, CLIPS = (40, 500) if STRESS >= 1 else (12, 8)
LIMIT_S = 7200 if STRESS >= 1 else 280
pytestmark = pytest.mark.timeout(7200 if STRESS >= 1 else 900)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with Nodes(3 if STRESS >= 1 else 2, free_port()) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of clips; 1 of 20 files cannot be read, as many are stereo FLAC."""
    root = tmp_path_factory.mktemp("archive")
    for number in range(FOLDERS):
        archive(root / f"{number:02}", CLIPS * 2 if number == 0 else CLIPS)
    if STRESS >= 1:
        long_stereo(root / "hour.wav", 3600)
        soundfile.write(root / "long.flac", *soundfile.read(long_stereo(root / "ten.wav", 600)))
    return root


@pytest.fixture(scope="module")
def wanted(clips: Path) -> list[Row]:
    """The rows of `classify` without a cluster."""
    return alone([clips], clips.parent)


def run(words: list[object], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """One command to its end, which may be far."""
    return subprocess.run(
        [sys.executable, "-m", "daemon", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env={**os.environ, "RAY_worker_niceness": "0", **env},
    )


def command(clips: Path, output: Path, *more: str) -> list[object]:
    formats = ("--formats", "wav,flac", "--engine", "onnx")
    return ["classify", clips, "--on", "ray", "--output", output, *formats, *more]


def test_a_cluster_gives_the_same_table(
    nodes: Nodes, clips: Path, wanted: list[Row], tmp_path: Path
) -> None:
    done = run(command(clips, tmp_path / "out"), env=nodes.environment)
    failed = sum(row["decision"] == "failed" for row in wanted)
    assert done.returncode == (1 if failed else 0), done.stderr
    assert rows(tmp_path / "out", list(wanted[0])) == wanted
    assert f"{failed:,} failed: not_audio {failed:,}" in done.stderr
    assert len(done.stderr.splitlines()) < 10 or STRESS >= 1, done.stderr  # Ray is quiet


def test_after_a_node_and_the_driver_are_killed_each_file_is_there_once(
    nodes: Nodes, clips: Path, wanted: list[Row], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    options = command(clips, output, "--partition", "folder")
    first = subprocess.Popen(
        [sys.executable, "-m", "daemon", *map(str, options)],
        env={**os.environ, **nodes.environment},
        stderr=subprocess.DEVNULL,
    )
    try:
        parts = FOLDERS * 2
        wait_for_parts(output, parts // 6, first)
        nodes.kill(0)
        wait_for_parts(output, parts // 3, first)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    before = names_in(output)
    assert before
    assert len(before) < parts
    again = run(options, env=nodes.environment)
    assert "resuming the job" in again.stderr
    assert "by an earlier call" in again.stderr
    assert rows(output, list(wanted[0])) == wanted
    assert before.items() <= names_in(output).items()  # not one was made again
    assert [path for path in output.rglob(".*") if path.is_file()] == []


def wait_for_parts(output: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while len(names_in(output)) < count:
        assert process.poll() is None, "it ended too early"
        assert time.monotonic() < deadline, f"{len(names_in(output))} parts"
        time.sleep(0.02)


def test_a_caller_outside_the_cluster(nodes: Nodes, tmp_path: Path) -> None:
    archive(tmp_path / "in", 10)
    outside = {name: value for name, value in nodes.environment.items() if name != "RAY_ADDRESS"}
    words = [*command(tmp_path / "in", tmp_path / "out"), "--on", f"ray://127.0.0.1:{nodes.port}"]
    done = run(words, env=outside)
    assert done.returncode == 1, done.stderr
    assert "10 files" in done.stderr
    wanted = alone([tmp_path / "in"], tmp_path)
    assert rows(tmp_path / "out", list(wanted[0])) == wanted
    if STRESS < 1:  # it takes ten seconds
        return
    other = run([*words, "--embeddings", "-"], env=outside)
    assert other.returncode == 2
    assert "differs in embeddings" in other.stderr


def test_a_cluster_started_here_and_one_that_is_not_there(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav")
    options = ["classify", tmp_path / "a.wav", "--output", tmp_path / "out", "--workers", "1"]
    done = run([*options, "--on", "ray"], {})
    assert done.returncode == 0, done.stderr
    assert [row["end_s"] for row in rows(tmp_path / "out")] == [5.0]
    away = run([*options, "--on", "ray://127.0.0.1:1"], {})
    assert away.returncode == 3
    assert "cannot use ray://127.0.0.1:1" in away.stderr
