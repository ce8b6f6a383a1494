"""Random histories: whatever happens on the way, each subscriber has every message exactly once.

In the manner of Jepsen. A process with the daemon's own journal, delivery and replay is killed and
started again, and its journal is put back, while a relay to each of four subscribers (the client
and the three examples) drops, delays, reorders and cuts. After each history the relay heals, and
the output of a subscriber is compared with the journal.

    TINYAST_HISTORY_SEED=7 pytest tests/daemon/test_histories.py    # the seed that was printed
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from relay import Faults, Relay
from running import PYTHON_PATH, STRESS, SUPPORT, stress
from test_examples import commands as commands

SEED = int(os.environ.get("TINYAST_HISTORY_SEED", random.randrange(10**6)))
HISTORIES = stress(1_000) if STRESS >= 0.2 else 20
SOON_S = 60.0
BEAT_S = 0.1  # between heartbeats while a history ends; a real daemon beats every 5 s
CLIENT = """
import json, sys
from daemon.client import Client
for r in Client(sys.argv[2], sys.argv[4], since=int(sys.argv[6])):
    path = (r.message["source"] or {}).get("path")
    print(r.message["seq"], r.topic, json.dumps(path), sep="\\t", flush=True)
"""


class Speaker:
    """The process that the messages come from."""

    def __init__(self, base: Path) -> None:
        self.state, self._copy = base / "state", base / "copy"
        self.state.mkdir()
        self.publish, self.replay = f"ipc://{base}/p", f"ipc://{base}/r"
        self.kills = self.put_backs = 0
        self.checked = 0  # seq up to which every subscriber was found to have everything
        self.start()

    def start(self) -> None:
        command = [sys.executable, str(SUPPORT / "daemons" / "speaker.py"), str(self.state)]
        self._process = subprocess.Popen(
            [*command, self.publish, self.replay],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": PYTHON_PATH},
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def tell(self, command: str) -> None:
        assert self._process.stdin is not None
        print(command, file=self._process.stdin, flush=True)

    def sync(self) -> None:
        """Wait until everything is published."""
        self.tell("sync")
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "synced\n"

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()
        self.kills += 1

    def keep_copy(self) -> None:
        """Copy the state as a snapshot of the machine would."""
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self.state, self._copy)

    def put_back(self) -> None:
        if self._copy.exists():
            shutil.rmtree(self.state)
            shutil.copytree(self._copy, self.state)
            self.put_backs += 1
            self.checked = 0

    def paths(self) -> list[str]:
        """The paths of the messages that have not been checked yet, in order."""
        with closing(sqlite3.connect(self.state / "journal.sqlite3")) as db:
            query = "SELECT body FROM messages WHERE seq > ? ORDER BY seq"
            rows = db.execute(query, (self.checked,)).fetchall()
        return [json.loads(body)["source"]["path"] for (body,) in rows]


class Subscriber:
    """A program that prints a line for each message."""

    def __init__(self, name: str, command: list[str], relay: Relay, number: int) -> None:
        self.name = name
        link = relay.links[number]
        self._process = subprocess.Popen(
            [*command, "--publish", link.publish, "--replay", link.replay, "--since", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.had: set[str] = set()  # paths
        self.twice: list[str] = []
        self.errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            path = json.loads(line.split("\t")[2])
            if path in self.had:
                self.twice.append(path)
            self.had.add(path)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.errors.append(line.rstrip())

    def end(self) -> None:
        with self._process:  # which closes its pipes
            self._process.kill()
            for thread in self._threads:
                thread.join()


@pytest.fixture
def speaker(tmp_path: Path) -> Iterator[Speaker]:
    made = Speaker(tmp_path)
    yield made
    made.kill()


@pytest.mark.stress
@pytest.mark.timeout(7200)
def test_every_subscriber_has_every_message_exactly_once(
    speaker: Speaker, commands: dict[str, list[str]]
) -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    programs = {"client": [sys.executable, "-c", CLIENT], **commands}
    relay = Relay(speaker.publish, speaker.replay, len(programs), SEED)
    relay.start()
    subscribers = [
        Subscriber(name, command, relay, number)
        for number, (name, command) in enumerate(programs.items())
    ]
    try:
        speaker.tell("say 1")
        settle(0, speaker, relay, subscribers)  # no fault before each has begun
        for number in range(1, HISTORIES + 1):
            play(rng, speaker, relay, killed=number == 1 or rng.random() < 0.15)
            settle(number, speaker, relay, subscribers)
    finally:
        relay.close()
        for subscriber in subscribers:
            subscriber.end()
    assert relay.dropped > HISTORIES
    assert relay.cuts > 0
    assert speaker.kills > 0
    print(
        f"{HISTORIES} histories for each of {len(subscribers)} subscribers: "
        f"{speaker.checked} messages in the journal, {relay.dropped} dropped and "
        f"{relay.late} reordered on the way, {relay.cuts} cuts, {speaker.kills} kills, "
        f"{speaker.put_backs} times put back"
    )


def play(rng: random.Random, speaker: Speaker, relay: Relay, *, killed: bool) -> None:
    """One history: messages, and faults meanwhile."""
    links = range(len(relay.links))
    for _ in range(rng.randint(2, 6)):
        for link in links:
            if rng.random() < 0.5:
                relay.disturb(link, some_faults(rng))
            if rng.random() < 0.1:
                relay.cut(link)
        speaker.tell(f"say {rng.randint(1, 30)}")
        if rng.random() < 0.7:
            pass_on(speaker, relay)
    if killed:
        speaker.kill()
        if rng.random() < 0.3:
            speaker.put_back()
        elif rng.random() < 0.5:
            speaker.keep_copy()
        speaker.start()
        speaker.tell(f"say {rng.randint(1, 30)}")
        pass_on(speaker, relay)


def pass_on(speaker: Speaker, relay: Relay) -> None:
    """Wait until all published messages have reached the relay, on every link."""
    before = [link.beats for link in relay.links]
    deadline = time.monotonic() + SOON_S
    while any(link.beats == beats for link, beats in zip(relay.links, before, strict=True)):
        assert time.monotonic() < deadline, "nothing comes to the relay"
        speaker.tell("beat")
        time.sleep(0.01)


def some_faults(rng: random.Random) -> Faults:
    rare = rng.random() < 0.05  # a lost request or answer takes an example 5 s to notice
    return Faults(
        drop=rng.choice((0.0, 0.1, 0.5, 1.0)),
        hold=rng.choice((0.0, 0.2)),
        lose_request=0.3 * rare,
        lose_answer=0.3 * rare,
        delay_s=rng.choice((0.0, 0.0, 0.02)),
    )


def settle(number: int, speaker: Speaker, relay: Relay, subscribers: list[Subscriber]) -> None:
    """Heal, and compare the messages of each subscriber with the journal."""
    relay.heal()
    speaker.sync()
    paths = speaker.paths()
    deadline = time.monotonic() + SOON_S
    while True:
        speaker.tell("beat")
        wrong = [one for one in subscribers if problem(one, paths)]
        if not wrong:
            speaker.checked += len(paths)
            return
        if time.monotonic() > deadline:
            told = [
                f"{one.name}: {problem(one, paths)}; it said {one.errors[-5:]}" for one in wrong
            ]
            raise AssertionError("\n".join([f"history {number} of seed {SEED}:", *told]))
        time.sleep(BEAT_S)


def problem(subscriber: Subscriber, paths: list[str]) -> str | None:
    """What a subscriber lacks of the journal, or has more than once."""
    missing = [path for path in paths if path not in subscriber.had]
    twice = subscriber.twice
    if missing or twice:
        return f"{len(missing)} missing {missing[:3]}, {len(twice)} more than once {twice[:3]}"
    return None
