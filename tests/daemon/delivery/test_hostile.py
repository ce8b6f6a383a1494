"""A minute of what strangers can think of, while files are dropped and a subscriber listens."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from running import STRESS, SUPPORT, Daemon, free_port, of_type
from sounds import write_wav
from strangers import DEEDS

from daemon.client import Client, ClientKeys
from daemon.protocol.keys import make_client, make_server

MakeDaemon = Callable[..., Daemon]
LOAD_S = max(5.0, 60 * STRESS)
GROWN = 100e6  # bytes over the normal size
MOST_MEMORY = 200e6  # unbounded, these floods take gigabytes in seconds
FLOODS = ["parts", "connects", "requests", "subscriptions"]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    make_server(folder)
    make_client(folder, "friend")
    return folder


def begin(listening: Daemon, deed: str, seconds: float) -> subprocess.Popen[str]:
    """A stranger at work."""
    script = SUPPORT / "faults" / "strangers.py"
    return subprocess.Popen(
        [sys.executable, script, deed, listening.publish, listening.replay, str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def strangers(
    listening: Daemon, deeds: list[str], seconds: float
) -> Iterator[dict[str, list[int]]]:
    """All `deeds` at once, each in its own process; returns their results at the end."""
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
    assert told["connects"][0] >= (10_000 if STRESS >= 1 else 100)  # a busy machine makes few
    assert grown < GROWN
    assert listening.stop() == 0
    print(
        f"{LOAD_S:.0f} s, {len(dropped)} files heard, peak memory +{grown / 1e6:.1f} MB; "
        + ", ".join(f"{deed} x {done}" for deed, (done, _) in told.items())
    )


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_floods_without_keys_cost_little_memory_and_lose_nothing(
    daemon: MakeDaemon, transport: str
) -> None:
    """Floods on endpoints that anyone may use; each is cut off, and the daemon still works."""
    listening = daemon()
    if transport == "tcp":
        listening.publish = f"tcp://127.0.0.1:{free_port()}"
        listening.replay = f"tcp://127.0.0.1:{free_port()}"
    listening.start()
    dropped = [write_wav(listening.folder / "first.wav", seconds=0.5)]
    listening.ends(1)
    with strangers(listening, FLOODS, LOAD_S) as told:
        until = time.monotonic() + LOAD_S
        while time.monotonic() < until:
            number = len(dropped)
            path = listening.folder / f"{number}.wav"
            dropped.append(write_wav(path, seconds=0.5, seed=number))
            with suppress(subprocess.TimeoutExpired):
                listening.process.wait(0.2)
                pytest.fail(f"it ended: {listening.tail()}")
    assert all(done > 0 for done, _ in told.values()), told
    heard = listening.hear(lambda r: len(of_type(r, "file")) == len(dropped))
    ended = [Path(end["source"]["path"]) for end in of_type(heard, "file")]
    assert sorted(ended) == sorted(dropped)
    seqs = sorted(received.message["seq"] for received in heard)
    assert seqs == list(range(1, len(seqs) + 1))
    assert len({received.message["id"] for received in heard}) == len(seqs)
    peak, floods = listening.peak_memory(), listening.log.read_text().count("it was closed")
    late = sorted(each["latency_ms"] for each in of_type(heard, "prediction"))
    p99 = late[int(0.99 * (len(late) - 1))]
    assert peak < MOST_MEMORY
    assert floods > 0
    print(
        f"{transport}: {LOAD_S:.0f} s, {floods} floods cut off, {len(dropped)} files, "
        f"p99 {p99:.0f} ms, peak memory {peak / 1e6:.0f} MB; {told}"
    )
    assert listening.stop() == 0
