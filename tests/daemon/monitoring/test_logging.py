"""The log: one line an event, no line forged by a name, and few enough to spare the disk."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from pathlib import Path

import pytest
from running import Daemon, stress
from sounds import short_wav

from daemon.monitoring import logging as logs
from daemon.monitoring.logging import BURST, RateLimitFilter
from daemon.settings.schema import Log

MakeDaemon = Callable[..., Daemon]
FORGED = "a\n00:00:00 error   all is lost\r\x1b[2J\u202e.wav"


def written(form: str, say: Callable[[logging.Logger], None]) -> list[str]:
    """The lines that come of what `say` logs."""
    out = io.StringIO()
    with redirect_stderr(out):
        logs.configure(Log(format=form))  # type: ignore[arg-type]
        say(logging.getLogger("daemon.test"))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("form", ["human", "json"])
def test_a_name_cannot_forge_a_line(form: str) -> None:
    (line,) = written(form, lambda log: log.warning("cannot look at %s", FORGED))
    assert line.isprintable()
    assert "all is lost" in line


@pytest.mark.parametrize("form", ["human", "json"])
def test_nor_can_one_in_the_text_of_an_error(form: str) -> None:
    def fail(log: logging.Logger) -> None:
        try:
            raise ValueError(FORGED)
        except ValueError:
            log.exception("it failed")

    first, *trace = written(form, fail)
    assert "it failed" in first
    if form == "json":
        assert trace == []
        assert "all is lost" in json.loads(first)["traceback"]
    else:
        assert all(line.startswith("    ") and line.isprintable() for line in trace)


def test_what_repeats_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    repeats = RateLimitFilter(burst=3, period_s=60)

    def pass_through(count: int, wording: str = "cannot read %s", level: int = 30) -> list[str]:
        records = [
            logging.LogRecord("daemon", level, "", 0, wording, (f"{n}.wav",), None)
            for n in range(count)
        ]
        return [record.getMessage() for record in records if repeats.filter(record)]

    assert pass_through(1_000) == [f"cannot read {n}.wav" for n in range(3)]
    assert pass_through(1, "cannot list %s") == ["cannot list 0.wav"], "another kind"
    assert pass_through(1, level=40) == ["cannot read 0.wav"], "another level"
    now += 30
    assert pass_through(3) == []
    assert repeats.settled() == []
    now += 31
    assert pass_through(2) == [
        "cannot read 0.wav (1000 more like it were left out before)",
        "cannot read 1.wav",
    ]
    pass_through(5)
    now += 61
    assert repeats.settled() == ["4 more like it were left out, last: cannot read 4.wav"]
    assert repeats.settled() == []


def test_a_fault_of_many_files_is_a_few_lines(daemon: MakeDaemon, tmp_path: Path) -> None:
    """A folder whose files cannot be moved away, each worth a line."""
    count = stress(1_000, 5 * BURST)
    config = tmp_path / "tinyast.toml"
    config.write_text(f'[[folder]]\npath = "{tmp_path}/in"\nname = "in"\nafter = "move"\n')
    listening = daemon("--config", str(config))
    (listening.folder / "done").write_text("in the way")
    for number in range(count):
        (listening.folder / f"{number}.wav").write_bytes(short_wav(number))
    listening.start()
    listening.ends(count)
    listening.wait_for(lambda: len(errors(listening)) >= BURST, "as many lines as it may say")
    listening.stop()
    told = errors(listening)
    assert BURST <= len(told) <= BURST + 2, told


def errors(listening: Daemon) -> list[str]:
    """The errors that it has logged."""
    return [line["text"] for line in listening.logged() if line["level"] == "error"]


def test_on_a_terminal_it_is_for_people(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "daemon", "run", "--watch", str(tmp_path / "in")]
    command += ["--state", str(tmp_path / "s"), "--publish", f"ipc://{tmp_path}/p"]
    process = subprocess.Popen(
        [*command, "--replay", f"ipc://{tmp_path}/r"], stderr=theirs, stdout=theirs, stdin=theirs
    )
    os.close(theirs)
    told = b""
    try:
        with suppress(OSError):  # EIO: it has ended
            while data := os.read(ours, 4096):
                told += data  # a line can come in parts
                if b"Ctrl-C stops" in told:
                    process.terminate()
        assert process.wait(60) == 0
    finally:
        os.close(ours)
        process.kill()
        process.wait()
    assert b"tinyastd is ready" in told
    assert told.splitlines()[-1].endswith(b"info    stopping: SIGTERM")
    assert b"{" not in told
