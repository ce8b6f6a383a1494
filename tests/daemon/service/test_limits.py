"""The machine's limits: a clock that is set, a state directory that cannot be written."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from disks import mounted
from running import Daemon, of_type
from saying import fill, predictions
from sounds import write_wav

from daemon.client import NoAnswer, Received, ask_status
from daemon.host.clock import SteadyClock

MakeDaemon = Callable[..., Daemon]
YEAR_S = 365 * 86_400


class FakeClock:
    """A system clock for one daemon, which can be set while it runs."""

    def __init__(self, base: Path) -> None:
        library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
        if library is None:
            pytest.skip("faketime is not installed")
        self._file = base / "clock"
        self.set(0)
        self.env = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, off_s: int) -> None:
        """Set it to `off_s` from the true time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{off_s:+d}")
        new.rename(self._file)


def told_of_clock(heard: list[Received]) -> list[float]:
    return [m["step_s"] for m in of_type(heard, "status") if m["status"] == "clock_set"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("loaded", ["msgspec", "onnxruntime"])
def test_a_daemon_that_is_stopped_while_it_starts_has_stopped_as_asked(
    daemon: MakeDaemon, number: signal.Signals, loaded: str
) -> None:
    starting = daemon()
    starting.spawn()
    maps = Path(f"/proc/{starting.process.pid}/maps")
    starting.wait_for(lambda: loaded in maps.read_text(), f"loading {loaded}")
    starting.send(number)
    assert starting.process.wait(60) == 0
    assert "Traceback" not in starting.tail()


def steps(count: int) -> Callable[[list[Received]], bool]:
    return lambda heard: len(told_of_clock(heard)) == count


def test_a_clock_set_forward_and_back_loses_nothing(daemon: MakeDaemon, tmp_path: Path) -> None:
    clock = FakeClock(tmp_path)
    listening = daemon(env=clock.env)
    fill(listening.state, predictions(100))
    listening.start()
    for number, off_s in enumerate((YEAR_S, -YEAR_S)):
        clock.set(off_s)
        heard = listening.hear(steps(number + 1))
        write_wav(listening.folder / f"{number}.wav", seed=number)
        assert len(listening.ends(number + 1)) == number + 1
    assert told_of_clock(heard) == [
        pytest.approx(YEAR_S, abs=2),
        pytest.approx(-2 * YEAR_S, abs=2),
    ]
    with listening.client(0) as client:
        messages = [client.receive(30) for _ in range(100 + 1 + 2 + 4)]
        assert client.lost == 0
    seqs = [received.message["seq"] for received in messages if received is not None]
    assert sorted(seqs) == list(range(1, 108)), "what was kept has gone with the clock"
    published = [r.message["published_at"][:4] for r in messages if r and r.message["seq"] > 101]
    assert len(set(published)) == 2, "times in messages are the system's"
    assert "hangs" not in listening.tail()
    assert listening.stop() == 0


def test_small_corrections_of_a_clock_are_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1e9
    monkeypatch.setattr("time.time", lambda: now)
    monkeypatch.setattr("daemon.host.clock.clock", lambda: 5.0)
    clock = SteadyClock()
    for _ in range(100):
        now += 0.1
        assert clock.step(2.0) == 0.0
    now += 3
    assert clock.step(2.0) == pytest.approx(3)
    assert clock.step(2.0) == 0.0
    assert clock.now() == 1e9


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system that is mounted to be read."""
    with mounted(tmp_path / "state", "ro,mode=700") as state:
        yield state


def test_a_state_directory_that_cannot_be_written_is_said_at_the_start(
    daemon: MakeDaemon, read_only: Path
) -> None:
    listening = daemon()
    ended = subprocess.run(listening.command(), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 3
    assert str(read_only) in ended.stderr
    assert "Read-only file system" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    subprocess.run(["mount", "-o", "remount,rw", str(read_only)], check=True)
    listening.start()
    write_wav(listening.folder / "a.wav")
    assert listening.ends(1)[0]["state"] == "done"
    assert listening.stop() == 0


Change = Callable[..., None]


@pytest.fixture
def immutable(tmp_path: Path) -> Iterator[Change]:
    """Make files of the state directory read-only for all, or as they were."""

    def change(fixed: bool, pattern: str = "journal*") -> None:
        files = [str(path) for path in (tmp_path / "state").glob(pattern)]
        command = ["chattr", "+i" if fixed else "-i", *files]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this file system has no immutable files")

    yield change
    change(False)


def drop(listening: Daemon, first: int, last: int) -> None:
    for number in range(first, last):
        write_wav(listening.folder / f"{number}.wav", seconds=0.5, seed=number)


def check_all_told(listening: Daemon, count: int) -> list[Received]:
    heard = listening.hear(lambda r: len(of_type(r, "file")) == count)
    assert {end["state"] for end in of_type(heard, "file")} == {"done"}
    assert len({end["source"]["path"] for end in of_type(heard, "file")}) == count
    assert sorted(r.message["seq"] for r in heard) == list(range(1, len(heard) + 1))
    return heard


def test_a_journal_that_becomes_read_only_is_waited_for(
    daemon: MakeDaemon, immutable: Change
) -> None:
    listening = daemon().start()
    drop(listening, 0, 1)
    listening.ends(1)
    immutable(True, "journal.sqlite3-wal")
    drop(listening, 1, 50)
    listening.wait_for(lambda: listening.status()["blocked"], "blocked")
    immutable(False, "journal.sqlite3-wal")
    heard = check_all_told(listening, 50)
    assert len({r.message["run_id"] for r in heard}) == 1, "it was restarted"
    listening.wait_for(lambda: listening.status()["blocked"] is None, "not blocked")
    told = [line["text"] for line in listening.logged() if "journal" in line["text"]]
    assert sum("cannot be written" in text for text in told) == 1
    assert sum("can be written again" in text for text in told) == 1


def blocked_or_ended(listening: Daemon) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if listening.process.poll() is not None:
            return True
        with suppress(NoAnswer):
            if ask_status(listening.replay, timeout=1)["blocked"]:
                return True
    return False


def test_a_file_system_that_becomes_read_only_loses_nothing(
    daemon: MakeDaemon, immutable: Change
) -> None:
    """Memory that SQLite shares through a file goes too, which may end the process (SIGBUS)."""
    listening = daemon().start()
    drop(listening, 0, 1)
    listening.ends(1)
    immutable(True, "journal*")
    drop(listening, 1, 20)
    assert blocked_or_ended(listening)
    ended = listening.process.poll()
    if ended is not None:
        assert ended == -signal.SIGBUS
        again = subprocess.run(listening.command(), capture_output=True, text=True, timeout=60)
        assert again.returncode == 3, "it starts although it cannot write"
        assert "journal" in again.stderr
    immutable(False, "journal*")
    if ended is not None:
        listening.start()
    check_all_told(listening, 20)
