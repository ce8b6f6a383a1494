"""What a service manager asks of the daemon: notices, reload, and a hang that is noticed."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running import SOON_S, Daemon, of_type
from sounds import write_wav

from daemon.errors import StartError
from daemon.monitoring.liveness import Liveness
from daemon.settings.loading import load
from daemon.settings.reload import Rereading, compare

MakeDaemon = Callable[..., Daemon]


class Manager:
    """The socket on which a service manager listens."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(SOON_S)

    def hears(self, start: str) -> str:
        """The next notice that begins with `start`."""
        while True:
            text = self._socket.recv(4096).decode()
            if text.startswith(start):
                return text

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


def configured(daemon: MakeDaemon, tmp_path: Path, manager: Manager, rest: str) -> Daemon:
    config = tmp_path / "settings.toml"
    config.write_text(f'[[folder]]\npath = "{tmp_path}/in"\nname = "in"\n{rest}')
    return daemon("--config", str(config), env={"NOTIFY_SOCKET": str(manager.path)})


def test_ready_watchdog_and_stopping_are_told(
    daemon: MakeDaemon, tmp_path: Path, manager: Manager
) -> None:
    listening = configured(daemon, tmp_path, manager, "").start()
    assert "READY=1" in manager.hears("READY=1")
    manager.hears("WATCHDOG=1")
    assert listening.stop() == 0
    manager.hears("STOPPING=1")


def test_sighup_applies_what_it_can_and_names_what_needs_a_restart(
    daemon: MakeDaemon, tmp_path: Path, manager: Manager
) -> None:
    accept_all = "[decision]\nthreshold = 0.0\nunknown = false\n"
    listening = configured(daemon, tmp_path, manager, accept_all).start()
    manager.hears("READY=1")
    write_wav(listening.folder / "a.wav")
    listening.ends(1)
    (tmp_path / "settings.toml").write_text(
        f'[[folder]]\npath = "{tmp_path}/in"\nname = "in"\nsettle = 3.0\n'
        "[decision]\nthreshold = 1.0\nunknown = false\n"
    )
    listening.send(signal.SIGHUP)
    manager.hears("RELOADING=1")
    manager.hears("READY=1")
    write_wav(listening.folder / "b.wav")
    listening.ends(2)
    heard = listening.hear(lambda r: len(of_type(r, "file")) == 2)
    assert [m["decision"] for m in of_type(heard, "prediction")] == ["accepted", "rejected"]
    (told,) = [m for m in of_type(heard, "status") if m["status"] == "reloaded"]
    assert (told["applied"], told["restart"]) == (["decision"], ["folder"])


BAD = (
    b"[decision]\ntreshold = 1.0\n",
    b'[decision]\nallow = ["dragon"]\n',
    b"not TOML",
    b'node = "\xff"\n',
    b'node = "\\u0000"\npath = "\\u0000"\n',
    b"x = " + b"[" * 20_000 + b"]" * 20_000,
    b"workers = " + b"9" * 5_000,
    b'time_zone = "../../etc/passwd"\n',
)


def test_bad_settings_on_sighup_leave_all_as_it_was(
    daemon: MakeDaemon, tmp_path: Path, manager: Manager
) -> None:
    listening = configured(daemon, tmp_path, manager, "").start()
    manager.hears("READY=1")
    for bad in BAD:
        with (tmp_path / "settings.toml").open("ab") as out:
            out.write(bad)
        listening.send(signal.SIGHUP)
        manager.hears("RELOADING=1")
        manager.hears("READY=1")
        (tmp_path / "settings.toml").write_text(f'[[folder]]\npath = "{tmp_path}/in"\n')
    heard = listening.hear(
        lambda r: [m["status"] for m in of_type(r, "status")].count("reload_failed") == len(BAD)
    )
    texts = [m["text"] for m in of_type(heard, "status") if m["status"] == "reload_failed"]
    assert "threshold" in texts[0]
    assert "dragon" in texts[1]
    write_wav(listening.folder / "a.wav")
    assert listening.ends(1)[0]["state"] == "done"


def test_settings_that_hang_on_sighup_hold_nothing_up(
    daemon: MakeDaemon, tmp_path: Path, manager: Manager
) -> None:
    """Here behind a lease, as on a mount without its server."""
    listening = configured(daemon, tmp_path, manager, "").start()
    manager.hears("READY=1")
    settings = tmp_path / "settings.toml"
    content = settings.read_text()
    with settings.open("r+b") as leased:
        before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # a wish that the lease end
        fcntl.fcntl(leased, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        listening.send(signal.SIGHUP)
        manager.hears("RELOADING=1")
        manager.hears("WATCHDOG=1")
        settings.unlink()
        settings.write_text(content + "[decision]\nthreshold = 0.5\n")
        listening.send(signal.SIGHUP)
        manager.hears("READY=1")
    signal.signal(signal.SIGIO, before)
    listening.hear(lambda r: [m["status"] for m in of_type(r, "status")].count("reloaded") == 1)
    assert listening.stop() == 0


def test_what_takes_too_long_to_read_is_given_up() -> None:
    never = threading.Event()
    reading = Rereading(never.wait, limit_s=0.0)
    with pytest.raises(StartError, match="hangs"):
        reading.result(0.01)
    never.set()


def test_a_thread_stalls_only_while_something_is_due() -> None:
    liveness = Liveness(limit_s=0.0)
    assert not liveness.stalled
    liveness.progress()
    while not liveness.stalled:
        pass
    liveness.idle()
    assert not liveness.stalled


def test_nothing_changed_is_said_so() -> None:
    assert "nothing" in compare(load(environ={}), load(environ={})).describe()


def goes_on(listening: Daemon) -> None:
    """It takes files, and does not end a moment later either."""
    write_wav(listening.folder / "a.wav")
    assert listening.ends(1)[0]["state"] == "done"
    with pytest.raises(subprocess.TimeoutExpired):
        listening.process.wait(1)


@pytest.mark.parametrize(
    ("options", "ignored", "code"),
    [([], False, 0), (["--reload-on-hup"], False, None), ([], True, None)],
    ids=["a terminal closes", "asked to reload", "nohup"],
)
def test_without_a_service_manager_sighup_stops_unless_told_otherwise(
    daemon: MakeDaemon,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    ignored: bool,
    code: int | None,
) -> None:
    for name in ("NOTIFY_SOCKET", "INVOCATION_ID"):
        monkeypatch.delenv(name, raising=False)
    listening = daemon(*options)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        listening.start()
    finally:
        signal.signal(signal.SIGHUP, before)
    listening.send(signal.SIGHUP)
    if code is None:
        goes_on(listening)
    else:
        assert listening.process.wait(SOON_S) == code


class WithoutStreams(Daemon):
    """A daemon that is started with its standard streams closed."""

    def command(self) -> list[str]:
        return ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *super().command()]


def test_closed_standard_streams_are_no_other_file(tmp_path: Path) -> None:
    listening = WithoutStreams(tmp_path)
    listening.spawn()
    try:
        write_wav(listening.folder / "a.wav")
        assert listening.ends(1)[0]["state"] == "done"
        fds = [f"/proc/{listening.process.pid}/fd/{fd}" for fd in range(3)]
        assert {os.readlink(fd) for fd in fds} == {os.devnull}
        assert listening.stop() == 0
    finally:
        listening.clean_up()


class Watched(Daemon):
    """A daemon that says when it is ready how it looks for garbage."""

    CODE = """
import gc, sys
from daemon.__main__ import main
from daemon.commands import run
said = run.announce
def announce(*given):
    print("collects:", gc.isenabled(), "left alone:", gc.get_freeze_count() > 0, file=sys.stderr)
    said(*given)
run.announce = announce
main()
"""

    def command(self) -> list[str]:
        whole = super().command()
        return [sys.executable, "-c", self.CODE, *whole[whole.index("run") :]]


def test_garbage_is_looked_for_once_the_daemon_is_ready(tmp_path: Path) -> None:
    listening = Watched(tmp_path)
    listening.start()
    try:
        assert "collects: True left alone: True" in listening.tail()
    finally:
        listening.clean_up()
