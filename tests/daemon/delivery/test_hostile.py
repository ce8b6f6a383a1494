"""A minute of what strangers can think of, while files are dropped and a subscriber listens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from conftest import ROOT
from running import STRESS, Daemon, free_port, of_type, stress
from sounds import write_wav
from strangers import DEEDS

from daemon.client import Client, ClientKeys
from daemon.protocol.keys import make_client, make_server

MakeDaemon = Callable[..., Daemon]
LOAD_S = max(5.0, 60 * STRESS)
GROWN = 100e6  # bytes over what is normal


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    make_server(folder)
    make_client(folder, "friend")
    return folder


def begin(listening: Daemon, deed: str, seconds: float) -> subprocess.Popen[str]:
    """A stranger at work."""
    script = ROOT / "tests" / "strangers.py"
    return subprocess.Popen(
        [sys.executable, script, deed, listening.publish, listening.replay, str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def strangers(
    listening: Daemon, deeds: list[str], seconds: float
) -> Iterator[dict[str, list[int]]]:
    """All `deeds` at once, each in a process of its own; at the end what came of each."""
    told: dict[str, list[int]] = {}
    at_work = {deed: begin(listening, deed, seconds) for deed in deeds}
    try:
        yield told
        for deed, process in at_work.items():
            out, _ = process.communicate(timeout=seconds + 60)
            assert process.returncode == 0, deed
            told[deed] = [int(word) for word in out.split()]
    finally:
        for process in at_work.values():
            process.kill()
            process.communicate()


class Listener(threading.Thread):
    """A well-behaved subscriber: the labels of all files whose end it has heard, by path."""

    def __init__(self, client: Client) -> None:
        super().__init__(daemon=True)
        self._client, self._halt = client, threading.Event()
        self._labels: dict[str, str] = {}
        self.ended: dict[str, str | None] = {}

    def run(self) -> None:
        with self._client:
            while not self._halt.is_set():
                received = self._client.receive(0.2)
                if received is None:
                    continue
                message = received.message
                if message["type"] == "prediction":
                    self._labels[message["source"]["path"]] = message["label"]
                elif message["type"] == "file":
                    path = message["source"]["path"]
                    self.ended[path] = self._labels.get(path)

    def stop(self) -> None:
        self._halt.set()
        self.join()


def test_strangers_without_a_key_keep_nobody_from_hearing(daemon: MakeDaemon, keys: Path) -> None:
    listening = daemon("--keys", str(keys))
    listening.publish = f"tcp://127.0.0.1:{free_port()}"
    listening.replay = f"tcp://127.0.0.1:{free_port()}"
    listening.start()
    mine = ClientKeys.load(keys / "server.key", keys / "friend.key_secret")
    friend = Listener(Client(listening.publish, listening.replay, 0, keys=mine))
    friend.start()
    try:
        dropped = [str(write_wav(listening.folder / "first.wav"))]
        listening.wait_for(lambda: len(friend.ended) == 1, "heard")
        before = listening.memory()
        with strangers(listening, list(DEEDS), LOAD_S) as told:
            until = time.monotonic() + LOAD_S
            while time.monotonic() < until:
                path = listening.folder / f"{len(dropped)}.wav"
                dropped.append(str(write_wav(path, seed=len(dropped))))
                listening.wait_for(lambda: dropped[-1] in friend.ended, "heard", 120)
        grown = listening.peak_memory() - before
        listening.wait_for(lambda: set(friend.ended) == set(dropped), "all heard")
    finally:
        friend.stop()
    assert all(friend.ended.values()), "a file without a label"
    assert all(done > 0 for done, _ in told.values()), told
    assert [leaked for _, leaked in told.values()] == [0] * len(told)
    assert told["connects"][0] >= stress(10_000)
    assert grown < GROWN
    assert listening.stop() == 0
    print(
        f"{LOAD_S:.0f} s, {len(dropped)} files heard, peak memory +{grown / 1e6:.1f} MB; "
        + ", ".join(f"{deed} x {done}" for deed, (done, _) in told.items())
    )


@pytest.fixture
def little_memory() -> Iterator[Callable[[int], None]]:
    """Hold a process to 220 MB, as a service manager does; it is killed where it takes more."""
    limit = "memory.limit_in_bytes"
    root = Path("/sys/fs/cgroup/memory")
    if not (root / limit).exists():
        root, limit = Path("/sys/fs/cgroup"), "memory.max"
    group = root / f"tinyast-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text("220000000")
    except OSError as error:
        pytest.skip(f"limiting memory needs root and a control group to write: {error}")

    def hold(pid: int) -> None:
        (group / "cgroup.procs").write_text(f"{pid}\n")

    yield hold
    group.rmdir()


def test_a_flood_of_subscriptions_on_an_open_endpoint_loses_nothing(
    daemon: MakeDaemon, little_memory: Callable[[int], None]
) -> None:
    """Each flood is cut off. At worst it costs all memory, and the daemon is started again."""
    listening = daemon()
    listening.publish = f"tcp://127.0.0.1:{free_port()}"
    listening.replay = f"tcp://127.0.0.1:{free_port()}"
    listening.start()
    little_memory(listening.process.pid)
    dropped = [write_wav(listening.folder / f"{n}.wav", seconds=0.5, seed=n) for n in range(20)]
    with strangers(listening, ["subscriptions", "connects"], LOAD_S) as told:
        until = time.monotonic() + LOAD_S
        while time.monotonic() < until:
            number = len(dropped)
            path = listening.folder / f"{number}.wav"
            dropped.append(write_wav(path, seconds=0.5, seed=number))
            with suppress(subprocess.TimeoutExpired):
                listening.process.wait(0.2)
    if listening.process.poll() is not None:
        assert listening.process.returncode == -signal.SIGKILL, listening.tail()
        listening.start()
    assert told["subscriptions"][0] > 0
    heard = listening.hear(lambda r: len(of_type(r, "file")) == len(dropped))
    ended = [Path(end["source"]["path"]) for end in of_type(heard, "file")]
    assert sorted(ended) == sorted(dropped)
    seqs = sorted(received.message["seq"] for received in heard)
    assert seqs == list(range(1, len(seqs) + 1))
    assert len({received.message["id"] for received in heard}) == len(seqs)
    print(f"flood of subscriptions: peak memory {listening.peak_memory() / 1e6:.0f} MB")
    assert listening.stop() == 0
