"""The command line beside closed, full and narrow outputs, and with Ctrl-C at once."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT
from sounds import write_wav

FULL = Path("/dev/full")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def in_shell(line: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`$tinyastd` in `line` is the command."""
    command = f"{sys.executable} -m daemon"
    environment = {**ENVIRONMENT, "tinyastd": command, **more}
    return subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, env=environment, timeout=120
    )


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("what", ["labels", "--help", "classify {} --format csv",
                                  "classify {} --format raven"])  # fmt: skip
def test_an_output_that_is_full_is_said_in_a_line(tmp_path: Path, what: str) -> None:
    path = write_wav(tmp_path / "a.wav", 1)
    done = in_shell(f"$tinyastd {what.format(path)} > {FULL}")
    assert done.returncode == 1
    assert done.stderr == "tinyastd: cannot write the output: No space left on device\n"


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_as_devnull(tmp_path: Path, closed: str) -> None:
    path, table = write_wav(tmp_path / "a.wav", 1), tmp_path / "a.csv"
    assert in_shell(f"$tinyastd classify {path} {closed}").returncode == 0
    assert in_shell(f"$tinyastd classify {path} --output {table} {closed}").returncode == 0
    assert len(table.read_text().splitlines()) == 2  # no word of another stream is in it


def test_a_reader_that_has_enough_is_no_fault(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", 1)
    done = in_shell(f"$tinyastd classify {path} --format raven | true")
    assert done.stderr == ""


def test_a_terminal_without_a_character_gets_an_escape(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "Käuzchen.wav", 1)
    done = in_shell(f"$tinyastd classify '{path}'", LC_ALL="C", PYTHONIOENCODING="ascii:strict")
    assert done.returncode == 0, done.stderr
    assert "K\\xe4uzchen.wav" in done.stdout


def test_a_path_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = in_shell(f"$tinyastd backup {tmp_path}/copy --state '{tmp_path}/Käuzchen'", **plain)
    assert "there is no journal" in done.stderr


def test_ctrl_c_does_not_wait_for_a_long_file(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", 1)
    size = 24 * 3600 * 8_000  # a day of 8 bits at 8 kHz, on little disk
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, 8_000,
                       8_000, 1, 8, b"data", size)  # fmt: skip
    for name in "bcdefgh":
        (tmp_path / f"{name}.wav").write_bytes(head)
        os.truncate(tmp_path / f"{name}.wav", len(head) + size)
    table = tmp_path / "table.csv"
    command = [sys.executable, "-m", "daemon", "classify", str(tmp_path), "--output", str(table)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=ENVIRONMENT)
    while not (table.exists() and b"a.wav" in table.read_bytes()):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 130, words
    assert len(table.read_text().splitlines()) == 2


def test_help_keeps_what_is_in_brackets() -> None:
    for command, table in (("page", "[page]"), ("mqtt", "[mqtt]"), ("notify", "[[notify]]")):
        words = " ".join(
            re.sub("[│╭╮╰╯─]", " ", in_shell(f"$tinyastd {command} --help").stdout).split()
        )
        assert f"table {table} of the settings" in words


def test_ctrl_c_while_modules_load_leaves_no_traceback(tmp_path: Path) -> None:
    """The first module that the command needs is one that waits for the signal here."""
    (tmp_path / "typer.py").write_text(
        "import time\nprint('loading', flush=True)\ntime.sleep(60)\n"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with subprocess.Popen(
        [sys.executable, "-m", "daemon", "labels"], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert errors == ""
