"""Signals that come at an unlucky moment: in the middle of a step of the program."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import CommandProcess
from running import ROOT, SOON_S, free_port

# The process sends itself a signal in a function when `caller` first calls it: in one of an event,
# where that holds the event's lock.
SEND = """
import os, sys
from pathlib import Path

number, function, caller = os.environ["SIGNAL_AT"].split()

def called(frame, *_):
    if function in ("any", frame.f_code.co_qualname) and frame.f_back is not None:
        code = frame.f_back.f_code
        return line if caller == f"{Path(code.co_filename).stem}.{code.co_qualname}" else None

def line(frame, *_):
    if not function.startswith("Event.") or frame.f_locals["self"]._cond._lock.locked():
        sys.settrace(None)
        os.write(1, b"now\\n")
        os.kill(os.getpid(), int(number))
    return line

sys.settrace(called)
"""

Start = Callable[..., CommandProcess]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a command that gets a signal in a function which a file calls."""
    (tmp_path / "sitecustomize.py").write_text(SEND)
    (tmp_path / "in").mkdir()
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setenv("TINYAST_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("TINYAST_PUBLISH", f"ipc://{tmp_path}/p")
    monkeypatch.setenv("TINYAST_REPLAY", f"ipc://{tmp_path}/r")
    made: list[CommandProcess] = []

    def make(number: int, function: str, caller: str, *command: str) -> CommandProcess:
        monkeypatch.setenv("SIGNAL_AT", f"{number:d} {function} {caller}")
        made.append(CommandProcess(tmp_path / "log", *command))
        made[-1].spawn()
        return made[-1]

    yield make
    for one in made:
        one.clean_up()


READS = "loading._check"  # settings, by msgspec, which drops a KeyboardInterrupt in what it calls
LOADS = "onnx_session.load_onnxruntime"  # which makes an ImportError of one


@pytest.mark.parametrize(
    ("command", "function", "caller"),
    [
        *((command, "any", READS) for command in ("listen", "mqtt", "notify", "page")),
        ("classify examples/sounds", "any", READS),
        ("classify examples/sounds", "_find_and_load", LOADS),
        ("similar examples/sounds/birds.wav examples/sounds", "_find_and_load", LOADS),
    ],
)
def test_a_ctrl_c_while_a_command_starts_ends_it(
    start: Start, command: str, function: str, caller: str
) -> None:
    it = start(signal.SIGINT, function, caller, *command.split())
    assert it.process.wait(SOON_S) == -signal.SIGINT
    assert it.text == "now\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize(
    ("command", "waits"),
    [
        ("run --watch {}/in", "lifecycle.Service._loop"),
        ("mqtt", "bridge.Bridge._begin"),
        ("notify --url json://127.0.0.1:9", "notifier.Notifier._begin"),
    ],
)
def test_a_signal_in_the_midst_of_a_wait_ends_it(
    start: Start, tmp_path: Path, command: str, waits: str, number: signal.Signals
) -> None:
    """The wait holds the lock of its event there."""
    it = start(number, "Event.wait", waits, *command.format(tmp_path).split())
    assert it.process.wait(SOON_S) == 0
    assert "now\n" in it.text


def test_a_hangup_while_the_daemon_answers_one_has_settings_read_once_more(
    start: Start, tmp_path: Path
) -> None:
    command = ("run", "--watch", f"{tmp_path}/in", "--reload-on-hup")
    it = start(signal.SIGHUP, "Event.clear", "lifecycle.Service._read_settings", *command)
    it.wait_for(lambda: "ready" in it.text, "ready")
    it.process.send_signal(signal.SIGHUP)
    it.wait_for(lambda: it.text.count("nothing has changed") == 2, "read twice")
    assert it.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_before_the_server_of_the_page_runs_ends_it(
    start: Start, number: signal.Signals
) -> None:
    it = start(number, "Server.run", "server.serve", "page", "--port", str(free_port()))
    assert it.process.wait(SOON_S) == 0
    assert "now\n" in it.text
