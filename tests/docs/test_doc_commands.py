"""README and docs: commands run as they are written, settings load, Python runs, JSON is JSON."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from conftest import ROOT
from doc_blocks import PAGES, Block, Command, blocks, commands, parts, problem
from running import Daemon, free_port

from daemon.client import Client
from daemon.settings.loading import load

NEVER_RUN = {
    "USB Audio": "needs that microphone; a virtual one is heard in tests of microphones",
    "tinyastd devices": "needs a sound card",
    "install-service": "writes into /etc; tests/daemon/commands/test_install_service.py runs it",
    "tcp://HOST": "needs another machine; tests of keys connect with them",
    "ipc:///run/tinyast": "needs the service of an installed package; tests/install has one",
    "/etc/tinyast": "needs the settings of an installed service",
    "--tls-cert": "needs a certificate; tests of the page make one",
    "--url ntfy": "sends to a public server; tests of notifications have a server",
    "scripts.download": "fetches hundreds of megabytes; tests/scripts serves small ones",
    "scripts.train": "takes minutes to hours; tests/scripts trains on small sounds",
    "scripts.evaluate": "needs a finished training; tests/scripts has one",
    "scripts.export": "needs a finished training; tests/scripts has one",
    "scripts.reference": "needs the training data",
    "scripts.benchmark": "takes minutes; tests/scripts/test_benchmark.py runs its parts",
    "scripts.preprocess  ": "reads ESC-50, which `scripts.download` fetches",
    "--on ray": "needs the extra `cluster`, and archives; tests/daemon/cluster runs it",
    "tinyastd restore": "needs a stopped daemon; tests/daemon/journal/test_backup.py restores",
    "tinyast.v1.event.": "prints nothing until a microphone hears something",
    "mkdir recordings": "belongs into config/packaging of a checkout",
    "curl": "needs a page that runs; tests of the page ask its API",
    "make ": "sets up an environment or builds packages; tests of the Makefile and of packaging",
}
"""A part of a command, and the reason for which its options are only looked up."""
GO_ON = ("run", "listen")  # commands that end when they are asked to
SYSTEM = ("/opt/tinyast/bin/", "/opt/tinyast-next/bin/")
CONTINUES = ("systemctl", "apt", "pip", "pipx", "uv", "podman", "docker", "cd", "arecord", "sudo",
             "printf", "python3", "for", "done", "ray", "export")  # fmt: skip
FIRST_LINE_S = 180  # generous: CI machines are slow


def never_run(text: str) -> str | None:
    """Why a command is not run; None if it is."""
    first = Path(text.split()[0]).name
    if first in CONTINUES:
        return "a program of the system, which installs, builds or starts something"
    return next((why for part, why in NEVER_RUN.items() if part in f"{text} "), None)


RUN = [each for each in commands() if never_run(each.text) is None]


@pytest.mark.parametrize("command", commands(), ids=str)
def test_commands_and_options_exist(command: Command) -> None:
    for words in parts(command.text):
        assert problem(words) is None, f"{command}: {problem(words)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_text_exist(page: Path) -> None:
    text = re.sub(r"(?s)```.*?```", "", page.read_text(encoding="utf-8"))
    for code in re.findall(r"`((?:tinyastd |python -m scripts\.)[^`]*)`", text):
        words = code.replace("…", "").split()
        assert problem(words) is None, f"{page.name}: `{code}`: {problem(words)}"


def test_each_reason_not_to_run_a_command_is_needed() -> None:
    texts = [f"{each.text} " for each in commands()]
    assert [part for part in NEVER_RUN if not any(part in text for text in texts)] == []
    assert len(RUN) >= 15


# -- settings, JSON and YAML ---------------------------------------------------------------------


def of(language: str) -> list[Block]:
    return [block for block in blocks() if block.language == language]


@pytest.mark.parametrize("block", of("toml"), ids=str)
def test_settings_load(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(block.text)
    assert load(file, {}).node


@pytest.mark.parametrize("block", of("json"), ids=str)
def test_json_is_json(block: Block) -> None:
    """tests/daemon/protocol holds the messages among it to the schema."""
    assert json.loads(block.text)


# -- Python --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def heard(place: Path) -> Iterator[Daemon]:
    """A daemon that watches `data/test` of the folder and has classified one file there."""
    base = place / "shared"
    base.mkdir()
    daemon = Daemon(base)
    daemon.folder, daemon.state = place / "data" / "test", place / "var" / "lib" / "tinyast"
    try:
        daemon.start()
        shutil.copy(place / "dog.wav", daemon.folder / "dog.wav")
        daemon.ends(1)
        yield daemon
    finally:
        daemon.clean_up()


class Enough(Exception):
    """The snippet has printed the right text."""


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_python_runs(
    block: Block, heard: Daemon, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed: list[tuple[object, ...]] = []

    def show(*values: object) -> None:
        printed.append(values)
        if "for received in client" in block.text and len(printed) == 3:
            raise Enough

    def connect(since: int | None = None) -> Client:
        return heard.client(since)

    monkeypatch.chdir(place)
    monkeypatch.setattr("daemon.client.Client", connect)
    code = compile(block.text, str(block), "exec")
    try:
        exec(code, {"print": show})
    except Enough:
        assert [values[0] for values in printed] == [1, 2, 3]
    assert printed


# -- commands ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a checkout, with the sounds that the docs speak of."""
    place = tmp_path_factory.mktemp("docs")
    for name in ("examples", "config", "docs", "scripts", "tinyast", "daemon"):
        (place / name).symlink_to(ROOT / name)
    sounds = ROOT / "examples" / "sounds"
    for name in ("recordings", "summer", "my-sounds/kettle", "my-sounds/doorbell", "data/test"):
        (place / name).mkdir(parents=True)
    for name in ("dog", "porch", "rooster", "recording", "recordings/a", "summer/a"):
        shutil.copy(sounds / "birds.wav", place / f"{name}.wav")
    rows = ["filename,label,fold"]
    for kind, sound in (("kettle", "siren"), ("doorbell", "knock")):
        for number in (1, 2):
            shutil.copy(sounds / f"{sound}.wav", place / "my-sounds" / kind / f"{kind}{number}.wav")
            rows.append(f"{kind}/{kind}{number}.wav,{kind},{number}")
    (place / "my-sounds" / "metadata.csv").write_text("\n".join(rows) + "\n")
    for name in ("var/lib/tinyast", "var/backups", "var/spool/tinyast", "srv/recordings"):
        (place / name).mkdir(parents=True)
    (place / "bin").mkdir()
    for name in ("python", "tinyastd"):
        target = Path(sys.executable).with_name(name)
        (place / "bin" / name).write_text(f'#!/bin/sh\nexec "{target}" "$@"\n')
        (place / "bin" / name).chmod(0o755)
    (place / ".venv").mkdir()
    (place / ".venv" / "bin").symlink_to(place / "bin")
    return place


def adapted(text: str, place: Path) -> str:
    """The command with programs and folders of an installed service in `place` instead."""
    for prefix in SYSTEM:
        text = text.replace(prefix, "")
    for name in ("/var/", "/srv/"):
        text = text.replace(name, f"{place}{name}")
    return text


def _bash(text: str, place: Path, more: dict[str, str]) -> subprocess.Popen[str]:
    """A separate process group, so that a pipe can be interrupted as in a terminal."""
    if "| jq" in text and shutil.which("jq") is None:
        text = text.partition("|")[0]
    return subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", text],
        cwd=place,
        env={**os.environ, "PATH": f"{place}/bin:{os.environ['PATH']}", **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _ends_when_asked(process: subprocess.Popen[str], sign: str, nudge: Callable[[], None]) -> None:
    """Interrupt the command once it says `sign`, and see it end well."""
    said: list[str] = []
    met = threading.Event()

    def follow(stream: IO[str]) -> None:
        for line in stream:
            said.append(line)
            if sign in line:
                met.set()

    streams = [process.stdout, process.stderr]
    readers = [threading.Thread(target=follow, args=[stream]) for stream in streams]
    for reader in readers:
        reader.start()
    deadline = time.monotonic() + FIRST_LINE_S
    while not met.wait(0.3) and process.poll() is None and time.monotonic() < deadline:
        nudge()
    os.killpg(process.pid, signal.SIGINT)
    try:
        code = process.wait(FIRST_LINE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    for reader in readers:
        reader.join()
    for stream in streams:
        assert stream is not None
        stream.close()
    assert met.is_set(), "".join(said)
    assert code in (0, -signal.SIGINT), "".join(said)  # bash reports its own end by a signal


PAGES_TO_RUN = sorted({each.block.page for each in RUN})


@pytest.mark.parametrize("page", PAGES_TO_RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_run_as_written(page: Path, place: Path, heard: Daemon, tmp_path: Path) -> None:
    """In order, so that a command finds the output of the one before it."""
    made = itertools.count()

    def drop() -> None:
        shutil.copy(place / "dog.wav", heard.folder / f"{page.stem}{next(made)}.wav")

    for command in (each for each in RUN if each.block.page == page):
        text = adapted(command.text, place)
        words = next(iter(parts(text)))
        asked = words[1] if Path(words[0]).name == "tinyastd" else ""
        base = tmp_path if asked == "run" else heard.base  # one state directory has one daemon
        more = {"TINYAST_PUBLISH": f"ipc://{base}/p", "TINYAST_REPLAY": f"ipc://{base}/r"}
        more["TINYAST_STATE"] = str(tmp_path / "state" if asked == "run" else heard.state)
        if "--page" in text:
            more["TINYAST_PAGE__PORT"] = str(free_port())
        process = _bash(text, place, more)
        if asked in GO_ON:
            sign = {"listen": "chirping_birds"}.get(
                asked, "page is at" if "--page" in text else "ready"
            )
            _ends_when_asked(process, sign, drop if asked == "listen" else lambda: None)
            continue
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, f"{command}\n{out}{err}"
        assert "Traceback" not in err
