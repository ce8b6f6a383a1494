"""The n-th call of one function fails, wherever it is: no thread ends, and no message is lost."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from failing_calls import FailingCalls, Plan
from running import STRESS, Daemon, stress, tinyastd
from sounds import short_wav, write_wav

from daemon.service.inbox import ask_reprocess

MOST = 2_000  # calls; the error comes at one of them
AT_ONCE = 6  # daemons: they wait most of the time, until they try again
LONG_S = 180.0  # for six daemons on a busy machine
MOST_TRIES = 3  # of work until the error comes; how many calls are made depends on the time too
A_ROUND = 5  # errors in the life of one daemon: at its start, while it works, and at its end
LIVES = stress(2_000) // A_ROUND if STRESS >= 0.2 else 2 * AT_ONCE
SETTINGS = """\
workers = 2
[[folder]]
path = "{base}/in"
rescan = 2
poll = 1
formats = ["wav", "m4a"]
[[folder]]
path = "{base}/moved"
rescan = 2
poll = 1
after = "move"
"""
MICROPHONE = '[[microphone]]\ndevice = "no such device"\n'


@pytest.fixture(scope="session")
def m4a(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A short recording that ffmpeg decodes, and so needs processes."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    folder = tmp_path_factory.mktemp("m4a")
    wav = write_wav(folder / "a.wav", seconds=1.0)
    command = ["ffmpeg", "-v", "error", "-i", str(wav), str(folder / "a.m4a")]
    subprocess.run(command, check=True)
    return (folder / "a.m4a").read_bytes()


@dataclass
class Round:
    """The life of one daemon: an error at its start, some while it works and one at its end."""

    base: Path
    m4a: bytes
    rng: random.Random
    plans: list[Plan | None] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    expected: Counter[str] = field(default_factory=Counter)  # ends of each path

    def __post_init__(self) -> None:
        self.base.mkdir()
        (self.base / "moved").mkdir()
        self.calls = FailingCalls(self.base / "calls")
        config = self.base / "settings.toml"
        text = SETTINGS.format(base=self.base)
        config.write_text(text + (MICROPHONE if self.rng.random() < 0.25 else ""))
        self.daemon = Daemon(self.base, "--config", str(config), env=self.calls.env)
        self._number = 0

    def drop(self) -> None:
        """A few files of each kind."""
        self._number += 1
        name = f"{self._number:03d}"
        (self.base / "in" / f"{name}.wav").write_bytes(short_wav(self._number))
        write_wav(self.base / "in" / f"{name}-long.wav", seconds=11, seed=self._number)
        (self.base / "in" / f"{name}.m4a").write_bytes(self.m4a + bytes(self._number))
        (self.base / "moved" / f"{name}.wav").write_bytes(short_wav(1_000 + self._number))
        for path in (
            f"in/{name}.wav",
            f"in/{name}-long.wav",
            f"in/{name}.m4a",
            f"moved/{name}.wav",
        ):
            self.expected[str(self.base / path)] += 1

    def reprocess(self) -> None:
        """Ask for the first file again."""
        path = self.base / "in" / "001.wav"
        ask_reprocess(self.daemon.state, [bytes(path)])
        self.expected[str(path)] += 1

    def ended(self) -> bool:
        """Whether every file has its end state and lies in its place."""
        return self.ends() == self.expected and not list((self.base / "moved").glob("*.wav"))

    def ends(self) -> Counter[str]:
        return Counter(message["source"]["path"] for message in self.messages("tinyast.v1.file."))

    def messages(self, topic: str = "tinyast.v1.") -> list[dict[str, Any]]:
        file = self.daemon.state / "journal.sqlite3"
        db = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        query = "SELECT body FROM messages WHERE topic GLOB ? ORDER BY seq"
        try:
            return [json.loads(body) for (body,) in db.execute(query, (topic + "*",))]
        except sqlite3.OperationalError:  # it is being made
            return []
        finally:
            db.close()

    def begin(self, plan: Plan | None) -> None:
        self.calls.plan(plan, arm="/state/lock")
        self.drop()
        self.daemon.spawn()
        process = self.daemon.process
        deadline = time.monotonic() + LONG_S
        while b"ready:" not in self.daemon.log.read_bytes():
            if process.poll() is not None:
                # Its manager starts it again.
                self.tell(plan, f": the start ended with {process.returncode}")
                at = self.calls.fired
                assert at is not None, self.daemon.tail()
                assert process.returncode == 3, f"{plan} at {at}\n{self.daemon.tail()}"
                assert "\ntinyastd: " in f"\n{self.daemon.tail()}", "no line for the user"
                self.daemon.start()
                break
            assert time.monotonic() < deadline, f"{plan}: not ready\n{self.daemon.tail()}"
            time.sleep(0.02)
        self.finish(plan)
        self.until_failed(plan)

    def go_on(self, plan: Plan | None) -> None:
        self.calls.plan(plan)
        self.drop()
        if self._number % 3 == 0:
            self.reprocess()
        self.finish(plan)
        self.until_failed(plan)

    def finish(self, plan: Plan | None) -> None:
        try:
            self.daemon.wait_for(self.ended, f"ended ({plan}, at {self.calls.fired})", LONG_S)
        except AssertionError as error:
            missing = self.expected - self.ends()
            raise AssertionError(
                f"{plan} at {self.calls.fired}: missing {missing}\n{error}"
            ) from None

    def until_failed(self, plan: Plan | None) -> None:
        """Let it work until the error has come, or does not come in this life."""
        for _ in range(MOST_TRIES):
            if plan is None or self.calls.fired is not None:
                break
            self.drop()
            self.finish(plan)
        self.tell(plan)

    def end(self, plan: Plan | None) -> None:
        self.calls.plan(plan)
        code = self.daemon.stop()
        assert code == 0, f"{plan} at {self.calls.fired}: ended with {code}\n{self.daemon.tail()}"
        self.tell(plan)

    def tell(self, plan: Plan | None, more: str = "") -> None:
        self.told.append(f"{plan}: at {self.calls.fired}{more}")

    def check(self) -> None:
        said = self.messages()
        assert [m["seq"] for m in said] == list(range(1, len(said) + 1))
        ends = [m for m in said if m["type"] == "file"]
        bad = [
            (m["source"]["path"], m["state"], m.get("error")) for m in ends if m["state"] != "done"
        ]
        assert not bad, f"{self.told}\n{bad}"
        assert Counter(m["source"]["path"] for m in ends) == self.expected
        windows = Counter(m["file_id"] for m in said if m["type"] == "prediction")
        assert windows == Counter({m["file_id"]: m["windows"] for m in ends})
        assert len({m["journal"] for m in said}) == 1
        (folder,) = (self.base / "moved").iterdir()
        assert len(list(folder.iterdir())) == self._number

    def run(self, counts: list[dict[str, int]]) -> list[str]:
        """All of it; the errors, and their places."""

        def draw(where: int) -> Plan:
            return Plan.draw(self.rng, counts[where], MOST)

        try:
            self.begin(draw(0))
            for _ in range(A_ROUND - 2):
                self.go_on(draw(1))
            self.end(draw(2))
            self.check()
        finally:
            self.daemon.clean_up()
        return self.told

    def count(self) -> list[dict[str, int]]:
        """A life without an error: how many calls are made at the start, at work and at the end."""
        counts = []
        try:
            self.begin(None)
            counts.append(self.calls.counts)
            self.go_on(None)
            counts.append(self.calls.counts)
            self.end(None)
            counts.append(self.calls.counts)
            self.check()
        finally:
            self.daemon.clean_up()
        return counts


@pytest.mark.parametrize("file", ["settings.toml", "server.key_secret"])
@pytest.mark.parametrize("call", ["open", "read"])
def test_settings_and_keys_that_cannot_be_read_now_are_no_wrong_settings(
    tmp_path: Path, file: str, call: str
) -> None:
    """Exit code 3, after which systemd starts it again; 2 would end it for good."""
    assert tinyastd("keygen", tmp_path / "keys").returncode == 0
    calls = FailingCalls(tmp_path / "calls")
    config = tmp_path / "settings.toml"
    config.write_text(f'keys = "{tmp_path}/keys"\n[[folder]]\npath = "{tmp_path}/in"\n')
    listening = Daemon(tmp_path, "--config", str(config), env=calls.env)
    calls.plan(Plan(call, 1, errno.EIO), arm=file)
    listening.spawn()
    assert listening.process.wait(60) == 3
    assert file in (calls.fired or "")
    assert f"{file} now: Input/output error" in listening.tail()


@pytest.mark.timeout(7200)
def test_the_nth_call_fails(tmp_path: Path, m4a: bytes) -> None:
    seed = int(os.environ.get("TINYAST_NTH_CALL_SEED") or random.randrange(1 << 32))
    print(f"TINYAST_NTH_CALL_SEED={seed}")
    counts = Round(tmp_path / "count", m4a, random.Random(seed)).count()
    print(counts)

    def life(number: int) -> list[str]:
        return Round(tmp_path / str(number), m4a, random.Random(seed + number)).run(counts)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [pool.submit(life, number) for number in range(LIVES)]
        failures = [str(error) for one in futures if (error := one.exception()) is not None]
    told = [line for one in futures if one.exception() is None for line in one.result()]
    came = sum("at None" not in line for line in told)
    print(*told, f"{came} errors came of {len(told)} planned", sep="\n")
    assert not failures, f"{len(failures)} of {len(futures)}:\n\n" + "\n\n".join(failures[:20])
    assert came > 0.8 * len(told)
