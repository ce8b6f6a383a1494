"""`tinyastd listen` on a terminal: a level meter and the last labels, above which lines scroll."""

from __future__ import annotations

import fcntl
import io
import logging
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live import is_live, is_status, listening, noise
from msgspec.structs import replace
from running import SOON_S
from saying import predictions
from virtual_mic import what_is_missing

from daemon.commands.listen import ERASE_BELOW, UP, Screen, line, meter
from daemon.monitoring.logging import _Human
from daemon.pipeline.live_job import event
from daemon.protocol.decoding import Received, read_live
from daemon.protocol.events import Detection
from daemon.protocol.messages import Loss, Message, Prediction, Source, gap, to_json
from daemon.protocol.states import MicrophoneState

STATE = MicrophoneState(
    name="mic",
    device=None,
    state="hearing",
    degraded=None,
    silent=False,
    level_dbfs=-30.0,
    gaps=0,
)
SOURCE = Source("mic", "mic")


def test_a_meter() -> None:
    assert meter(STATE, ()) == "mic [##########----------] -30.0 dBFS  "
    assert meter(replace(STATE, level_dbfs=0.0), ("dog 87%", "rain 40%")) == (
        "mic [####################] 0.0 dBFS    dog 87%, rain 40%"
    )
    assert "[--------------------] digital silence" in meter(
        replace(STATE, level_dbfs=-200.0, silent=True), ()
    )
    lost = meter(replace(STATE, state="lost", degraded="unplugged\x1b[2J"), ("dog 87%",))
    assert lost == "mic [--------------------] lost: unplugged\\x1b[2J"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            event(SOURCE, Detection("e", "dog", "end", 0.0, 12.5, 0.91, 3, "quiet"), 2),
            "dog end             91.0%  mic  12.5 s  (quiet)",
        ),
        (
            gap(SOURCE, "run", 1, Loss(0.0, 2.5, 40_000, "overload")),
            "gap                2.5 s of mic were lost: overload",
        ),
    ],
)
def test_lines(message: Message, words: str, in_berlin: None) -> None:
    at = replace(message, published_at="2026-01-01T23:30:00.000Z")
    assert line(at) == f"2026-01-02 00:30:00+01:00  {words}"


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_the_log_has_the_same_clock(in_berlin: None) -> None:
    record = logging.LogRecord("daemon", logging.WARNING, "", 0, "it\nhangs", None, None)
    record.created = 1_767_310_200.0  # 23:30 in UTC
    assert _Human().format(record) == "2026-01-02 00:30:00+01:00 warning it\\nhangs"


def prediction(label: str, decision: str, reason: str | None) -> Prediction:
    (made,) = predictions(1, label=label)
    return replace(made, source=SOURCE, score=0.9, decision=decision, reason=reason)


def test_a_message_of_a_type_added_later_gets_a_line() -> None:
    """As the contract asks of subscribers: treat an unknown type like any other."""
    message = {
        "schema": "tinyast/1", "type": "later", "seq": 7, "prev": 6, "journal": "j", "run_id": "r",
        "node": "n", "id": "0" * 32, "published_at": "2026-11-29T11:12:13.000Z",
        "source": {"kind": "file", "name": "yard", "path": "/srv/a.wav"}, "more": 1,
    }  # fmt: skip
    received = read_live([b"tinyast.v1.later", to_json(message)])
    assert isinstance(received, Received)
    assert line(received.content).endswith("  later              /srv/a.wav")


def test_what_scrolls_and_what_stays() -> None:
    screen = Screen(io.StringIO())
    assert screen._note(prediction("dog", "accepted", None))
    assert not screen._note(prediction("cat", "rejected", "below_threshold"))
    assert not screen._note(prediction("rain", "rejected", "silence"))
    assert list(screen._labels["mic"]) == ["cat 90%", "dog 90%"]
    assert screen._note(gap(SOURCE, "run", 1, Loss(0.0, 2.5, 40_000, "overload")))


class Terminal:
    """`tinyastd listen` on its own terminal, and the text that it wrote there."""

    def __init__(self, env: dict[str, str], *options: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 70, 0, 0))
        command = [sys.executable, "-m", "daemon", "listen", *options]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True
        )
        os.close(slave)
        self.written = ""

    def wait_for(self, true: Callable[[str], Any], timeout: float = SOON_S) -> Any:
        deadline = time.monotonic() + timeout
        while not (found := true(self.written)):
            assert time.monotonic() < deadline, self.written[-2000:]
            ready, _, _ = select.select([self.master], [], [], 0.2)
            if ready:
                self.written += os.read(self.master, 1 << 16).decode()
        return found

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.mark.skipif(what_is_missing() is not None, reason=what_is_missing() or "")
def test_on_a_terminal(tmp_path: Path) -> None:
    settings = "[decision]\nthreshold = 0.0\nunknown = false\n"
    settings += "[events]\nconfirm_at = 0.0\n[[microphone]]\n"
    with listening(tmp_path, settings) as ear:
        ear.start()
        daemon = ear.daemon
        terminal = Terminal(
            daemon.env,
            "--publish",
            daemon.publish,
            "--replay",
            daemon.replay,
            "--since",
            "0",
        )
        try:
            terminal.wait_for(lambda text: "started " in text)
            ear.server.play(noise(30))
            heard = terminal.wait_for(
                lambda text: re.search(r"mic \[#+-+\] -2\d\.\d dBFS +(\w+) \d+%", text)
            )
            terminal.wait_for(lambda text: f"{heard[1]} start" in text)
            assert all(
                len(part) < 70
                for part in re.split(r"[\r\n]", terminal.written)
                if part.startswith("\x1b[Jmic [")
            )
            ear.server.pull_out()
            terminal.wait_for(lambda text: "source_lost" in text)
            terminal.wait_for(lambda text: re.search(r"mic \[-+\] lost: ", text))
            assert UP not in terminal.written, "there is one microphone, and one line of it"
            assert ERASE_BELOW in terminal.written
            daemon.send(signal.SIGSTOP)
            terminal.wait_for(lambda text: "no sign of life from the daemon" in text)
            terminal.wait_for(lambda text: re.search(r"mic \[-+\] unknown: no sign of life", text))
            daemon.send(signal.SIGCONT)
            terminal.wait_for(lambda text: re.search(r"is heard again\s(.*\s)*.*mic \[", text))
            terminal.process.send_signal(signal.SIGINT)
            assert terminal.process.wait(SOON_S) == 0
        finally:
            terminal.close()
        # Without a terminal it prints lines alone.
        ear.wait_for(is_live)
        ear.wait_for(is_status("source_lost"))
        command = [sys.executable, "-m", "daemon", "listen", "--since", "0"]
        plain = subprocess.Popen(
            [*command, "--publish", daemon.publish, "--replay", daemon.replay],
            stdout=subprocess.PIPE,
            text=True,
            env=daemon.env,
        )
        assert plain.stdout is not None
        lines: list[str] = []
        while not any("source_lost" in each for each in lines):
            lines.append(plain.stdout.readline())
        plain.send_signal(signal.SIGINT)
        plain.stdout.close()
        assert plain.wait(SOON_S) == 0
        assert not any("\x1b" in each or "[##" in each for each in lines)
        assert any(f"{heard[1]} " in each for each in lines)
