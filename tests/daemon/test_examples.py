"""The example subscribers, run as a reader would run them, against a real daemon."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT
from PIL import Image
from running import Daemon, free_port, of_type, stress
from sounds import write_wav

from daemon.protocol.keys import make_client, make_server

EXAMPLES = ROOT / "examples"
LANGUAGES = ("python", "node", "c")

MakeDaemon = Callable[..., Daemon]


def need(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def run(*command: str, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """How to run the example in each language, installed and built outside the checkout."""
    need("node", "npm", "cc", "make", "pkg-config")
    if subprocess.run(["pkg-config", "libzmq", "libcjson"]).returncode != 0:
        pytest.skip("libzmq3-dev or libcjson-dev is not installed")
    built = tmp_path_factory.mktemp("examples")
    for language in ("node", "c"):
        ignored = shutil.ignore_patterns("node_modules", "listen")
        shutil.copytree(EXAMPLES / language, built / language, ignore=ignored)
    run("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", cwd=built / "node")
    run("make", "CFLAGS=-Wall -Wextra -Wpedantic -Werror", cwd=built / "c")
    return {
        "python": [sys.executable, str(EXAMPLES / "python" / "listen.py")],
        "node": ["node", str(built / "node" / "listen.mjs")],
        "c": [str(built / "c" / "listen")],
    }


@dataclass(frozen=True)
class Line:
    """One line as an example prints it."""

    seq: int
    what: str
    path: str | None


class Listener:
    """An example at work."""

    def __init__(self, command: list[str], daemon: Daemon, *options: str) -> None:
        endpoints = ["--publish", daemon.publish, "--replay", daemon.replay]
        self.process = subprocess.Popen(
            [*command, *endpoints, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def take(self, count: int) -> list[Line]:
        """The next lines, waiting for them."""
        assert self.process.stdout is not None
        lines = []
        for _ in range(count):
            text = self.process.stdout.readline()
            assert text.endswith("\n"), f"it ended: {self.process.wait()} {self.error()}"
            lines.append(_line(text))
        return lines

    def error(self) -> str:
        """The next line on standard error."""
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def rest(self) -> list[Line]:
        """All further lines, once it has stopped."""
        assert self.process.stdout is not None
        text = self.process.stdout.read()
        assert self.process.wait(60) == 0
        return [_line(line) for line in text.splitlines()]

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.communicate()


def _line(text: str) -> Line:
    seq, what, path = text.rstrip("\n").split("\t")
    return Line(int(seq), what, json.loads(path))


StartAll = Callable[..., list[Listener]]


@pytest.fixture
def start_all(commands: dict[str, list[str]]) -> Iterator[StartAll]:
    """Start the example in every language at once: `start_all(daemon, "--since", "0")`."""
    started: list[Listener] = []

    def start(daemon: Daemon, *options: str) -> list[Listener]:
        new = [Listener(commands[language], daemon, *options) for language in LANGUAGES]
        started.extend(new)
        return new

    yield start
    for one in started:
        one.end()


def test_the_originals_reach_every_language(
    daemon: MakeDaemon, start_all: StartAll, originals: list[Path]
) -> None:
    running = daemon().start()
    count = len(originals)
    listeners = start_all(running, "--since", "0", "--count", str(count))
    heard = [listener.take(1) for listener in listeners]  # each has had the first message
    for original in originals:
        shutil.copy(original, running.folder)
    for lines, listener in zip(heard, listeners, strict=True):
        lines += listener.rest()

    late = [listener.rest() for listener in start_all(running, "--since", "0", "--count", "25")]

    names = sorted(str(running.folder / original.name) for original in originals)
    published = {
        message["seq"]: f"{message['label']} {message['score']:.3f}"
        for message in of_type(running.hear(lambda r: len(r) == 1 + 2 * count), "prediction")
    }
    for language, lines in zip(LANGUAGES * 2, heard + late, strict=True):
        predictions = [line for line in lines if not line.what.startswith(("file.", "status."))]
        done = [line for line in lines if line.what == "file.done"]
        assert sorted(line.path or "" for line in predictions) == names, language
        assert sorted(line.path or "" for line in done) == names, language
        assert {line.seq: line.what for line in predictions} == published, language
        assert sorted(line.seq for line in lines) == list(range(1, 2 * count + 2)), language
        print(f"{language}: {len(predictions)} predictions, {len(done)} file.done")


def test_without_since_only_what_comes(daemon: MakeDaemon, start_all: StartAll) -> None:
    running = daemon().start()
    write_wav(running.folder / "before.wav")
    running.ends(1)
    listeners = start_all(running, "--count", "1")
    after = 0
    while any(listener.process.poll() is None for listener in listeners):
        after += 1  # one cannot see from outside when a listener has begun to listen
        write_wav(running.folder / f"after-{after}.wav")
        running.ends(1 + after)
    for listener in listeners:
        paths = {line.path for line in listener.rest()}
        assert len(paths) == 1
        assert "after-" in str(paths)


def test_what_a_restart_made_them_miss(daemon: MakeDaemon, start_all: StartAll) -> None:
    running = daemon().start()
    listeners = start_all(running, "--since", "0")
    write_wav(running.folder / "0.wav")
    heard = [listener.take(3) for listener in listeners]
    assert running.stop() == 0
    for name in ("1.wav", "2.wav", "3.wav"):
        write_wav(running.folder / name)
    running.start()
    for lines, listener in zip(heard, listeners, strict=True):
        # 1 started, 2 and 3 for 0.wav, 4 stopping, 5 started, then two for each of three files
        lines += listener.take(8)
        assert sorted(line.seq for line in lines) == list(range(1, 12))


def test_a_frozen_daemon_is_noticed(daemon: MakeDaemon, start_all: StartAll) -> None:
    running = daemon().start()
    listeners = start_all(running, "--since", "0")
    for listener in listeners:
        listener.take(1)
    running.send(signal.SIGSTOP)
    for listener in listeners:
        assert "no sign of life from the daemon" in listener.error()
    running.send(signal.SIGCONT)
    write_wav(running.folder / "a.wav")
    for listener in listeners:
        assert [line.seq for line in listener.take(2)] == [2, 3]


def test_a_new_journal_is_read_from_its_start(daemon: MakeDaemon, start_all: StartAll) -> None:
    running = daemon().start()
    listeners = start_all(running, "--since", "0")
    for listener in listeners:
        assert listener.take(1) == [Line(1, "status.started", None)]
    running.kill()
    shutil.rmtree(running.state)
    write_wav(running.folder / "a.wav")
    running.start()
    for listener in listeners:
        assert [line.seq for line in listener.take(3)] == [1, 2, 3]


def test_names_that_could_break_a_line(daemon: MakeDaemon, start_all: StartAll) -> None:
    running = daemon().start()
    path = running.folder / 'a\tb\nc "é" \x1b[31m.wav'
    write_wav(path)
    for listener in start_all(running, "--since", "0", "--count", "1"):
        assert [line.path for line in listener.rest()] == [None, str(path), str(path)]


def test_each_saves_a_picture(
    daemon: MakeDaemon, commands: dict[str, list[str]], tmp_path: Path
) -> None:
    running = daemon(env={"TINYAST_PICTURES__PUBLISH": "true"}).start()
    files = [tmp_path / f"{language}.png" for language in LANGUAGES]
    listeners = [
        Listener(commands[language], running, "--picture", str(file))
        for language, file in zip(LANGUAGES, files, strict=True)
    ]
    try:
        count = 0
        while not all(file.exists() and file.stat().st_size for file in files):
            count += 1  # one cannot see from outside when a listener has begun to listen
            write_wav(running.folder / f"{count}.wav", seed=count)
            running.ends(count)
        for file, listener in zip(files, listeners, strict=True):
            while listener.take(1)[0].what != "file.done":  # the picture is whole by then
                pass
            with Image.open(file) as image:
                image.load()
                assert (image.format, image.mode, image.size) == ("PNG", "L", (64, 64))
    finally:
        for listener in listeners:
            listener.end()


def test_no_daemon_is_said_in_one_line(commands: dict[str, list[str]], tmp_path: Path) -> None:
    nowhere = f"ipc://{tmp_path}/nobody"
    started = [
        subprocess.Popen(
            [*command, "--publish", nowhere, "--replay", nowhere],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands.values()
    ]
    for process in started:
        out, error = process.communicate(timeout=60)
        assert process.returncode == 1
        assert out == ""
        assert error.count("\n") == 1
        assert f"no daemon answers at {nowhere}" in error


def test_a_daemon_with_keys_lets_in_whom_it_knows(
    daemon: MakeDaemon, start_all: StartAll, tmp_path: Path
) -> None:
    folder = tmp_path / "keys"
    make_server(folder)
    make_client(folder, "friend")
    make_client(folder, "former")[0].unlink()
    running = daemon("--keys", str(folder))
    running.publish = f"tcp://127.0.0.1:{free_port()}"
    running.replay = f"tcp://127.0.0.1:{free_port()}"
    running.start()
    path = write_wav(running.folder / "a.wav")
    known, unknown = (
        (
            "--server-key",
            str(folder / "server.key"),
            "--own-key",
            str(folder / f"{name}.key_secret"),
        )
        for name in ("friend", "former")
    )
    for listener in start_all(running, *known, "--since", "0", "--count", "1"):
        assert [line.what for line in listener.rest()][::2] == ["status.started", "file.done"]
    live = start_all(running, *known, "--since", "3")
    path = write_wav(running.folder / "b.wav", seed=1)
    for listener in live:
        assert [line.path for line in listener.take(2)] == [str(path)] * 2
    for listener in [*start_all(running, "--since", "0"), *start_all(running, *unknown)]:
        assert listener.process.stdout is not None
        assert listener.process.stdout.read() == ""
        assert listener.process.wait(60) == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_wrong_with_keys_is_said(
    commands: dict[str, list[str]], tmp_path: Path, language: str
) -> None:
    folder = tmp_path / "keys"
    make_server(folder)
    server = str(folder / "server.key")
    for options in (["--own-key", server], ["--server-key", server, "--own-key", server]):
        ended = subprocess.run(
            [*commands[language], *options], capture_output=True, text=True, timeout=60
        )
        assert ended.returncode != 0
        assert ended.stdout == ""
        assert "key" in ended.stderr.splitlines()[-1]


@pytest.mark.stress
@pytest.mark.timeout(1800)
def test_one_that_cannot_keep_up_has_all_in_the_end(
    daemon: MakeDaemon, start_all: StartAll
) -> None:
    """Subscribers suspended while the daemon publishes more than anyone keeps for them."""
    windows = stress(60_000)
    running = daemon(env={"TINYAST_AUDIO__HOP": "0.05"}).start()
    listeners = start_all(running, "--since", "0")
    heard = [listener.take(1) for listener in listeners]
    for listener in listeners:
        listener.process.send_signal(signal.SIGSTOP)
    write_wav(running.folder / "long.wav", seconds=5 + 0.05 * (windows - 1), rate=8_000)
    running.ends(1, timeout=1500)
    for listener in listeners:
        listener.process.send_signal(signal.SIGCONT)
    for language, lines, listener in zip(LANGUAGES, heard, listeners, strict=True):
        lines += listener.take(windows + 1)
        assert sorted(line.seq for line in lines) == list(range(1, windows + 3))
        print(f"{language}: {len(lines)} of {windows + 2} messages after being suspended")
