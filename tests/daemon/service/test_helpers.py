"""Helpers: the daemon starts the page beside itself, and only reports what becomes of it."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from running import SOON_S, Daemon, free_port
from sounds import write_wav

from daemon.host.parent import READY
from daemon.monitoring.service_thread import Running
from daemon.service import helper_process, helpers
from daemon.service.helper_process import Helper
from daemon.service.helpers import Helpers

Described = dict[str, Any]
WINDOWS = 800  # whose messages take more memory than is left


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(true: Callable[[], Any], what: str) -> Any:
    """What `true` gives once it is not false."""
    deadline = time.monotonic() + SOON_S
    while not (value := true()):
        assert time.monotonic() < deadline, f"not {what}"
        time.sleep(0.01)
    return value


def running_page(daemon: Daemon) -> Described:
    """The page of a daemon, once it says that it is ready."""

    def found() -> Described | None:
        (page,) = daemon.status()["helpers"]
        return page if page["state"] == "running" else None

    described: Described = daemon.wait_for(found, "running a page")
    return described


def of_helpers(daemon: Daemon, what: str) -> list[Described]:
    """All statuses `what`, once there is one."""
    heard = daemon.hear(lambda r: r and r[-1].message.get("status") == what)
    return [r.message for r in heard if r.message.get("status") == what]


@pytest.fixture
def settings(tmp_path: Path) -> Callable[[str], Path]:
    """Write the settings with a table `[page]` of this content, or without one."""
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)

    def write(page: str) -> Path:
        file = tmp_path / "tinyast.toml"
        file.write_text(f'[[folder]]\npath = "{folder}"\n{page}')
        return file

    return write


def test_a_page_beside_the_daemon(
    daemon: Callable[..., Daemon], settings: Callable[[str], Path]
) -> None:
    port, other = free_port(), free_port()
    file = settings(f"[page]\nport = {port}\n")
    with_page = daemon("--config", str(file), "--reload-on-hup").start()
    first = running_page(with_page)
    assert first == {"name": "page", "state": "running", "pid": first["pid"], "restarts": 0}
    asked = httpx.get(f"http://127.0.0.1:{port}/api/v1/daemons", timeout=SOON_S)
    assert asked.json()[0]["number"] == 1
    command = Path(f"/proc/{first['pid']}/cmdline").read_bytes().split(b"\0")
    assert command[1:] == [b"-P", b"-m", b"daemon", b"page", b""]

    os.kill(first["pid"], signal.SIGKILL)
    (lost,) = of_helpers(with_page, "helper_lost")
    assert (lost["helper"], lost["code"], lost["source"]) == ("page", "killed", None)
    write_wav(with_page.folder / "meanwhile.wav")
    assert with_page.ends(1)[0]["state"] == "done"
    assert of_helpers(with_page, "helper_back")[0]["helper"] == "page"
    second = running_page(with_page)
    assert second["restarts"] == 1
    assert second["pid"] != first["pid"]
    found = until(lambda: listed(port), "caught up")
    assert [Path(row["path"]).name for row in found] == ["meanwhile.wav"]

    settings(f"[page]\nport = {other}\npassword_file = '/nowhere'\n")
    with_page.send(signal.SIGHUP)
    (refused,) = of_helpers(with_page, "reload_failed")
    assert "[page]: cannot read `password_file` /nowhere of [page]: No such file" in refused["text"]
    assert running_page(with_page)["pid"] == second["pid"]

    settings(f"[page]\nport = {other}\n")
    with_page.send(signal.SIGHUP)
    (reloaded,) = of_helpers(with_page, "reloaded")
    assert reloaded["applied"] == ["page"]
    third = with_page.wait_for(
        lambda: (now := running_page(with_page))["pid"] != second["pid"] and now, "another page"
    )
    assert httpx.get(f"http://127.0.0.1:{other}/", timeout=SOON_S).status_code == 200
    assert not alive(second["pid"])
    assert len(of_helpers(with_page, "helper_lost")) == 1

    with_page.kill()
    until(lambda: not alive(third["pid"]), "ended by the kernel")


def test_a_page_without_memory_ends_and_is_started_again(
    daemon: Callable[..., Daemon], settings: Callable[[str], Path]
) -> None:
    """The daemon works meanwhile, and the next page has each message once."""
    port = free_port()
    file = settings(f"[page]\nport = {port}\n[audio]\nhop = 0.05\n")
    file.write_text(f"top = 50\n{file.read_text()}")
    with_page = daemon("--config", str(file)).start()
    first = running_page(with_page)["pid"]
    os.kill(first, signal.SIGSTOP)  # so that it takes in all at once
    write_wav(with_page.folder / "long.wav", seconds=5 + 0.05 * (WINDOWS - 1))
    assert with_page.ends(1)[0]["windows"] == WINDOWS
    # Threads have address space in reserve, so that RLIMIT_AS would not keep it from growing.
    found = re.search(r"VmData:\s+(\d+) kB", Path(f"/proc/{first}/status").read_text())
    assert found is not None
    resource.prlimit(first, resource.RLIMIT_DATA, (int(found[1]) * 1024, resource.RLIM_INFINITY))
    os.kill(first, signal.SIGCONT)
    (lost,) = of_helpers(with_page, "helper_lost")
    assert (lost["helper"], lost["code"]) in (("page", "ended"), ("page", "killed"))
    assert of_helpers(with_page, "helper_back")[0]["helper"] == "page"
    assert running_page(with_page)["pid"] != first
    rows = until(lambda: len(found := listed(port)) >= WINDOWS and found, "caught up")
    assert len(rows) == len({row["id"] for row in rows}) == WINDOWS
    write_wav(with_page.folder / "after.wav")
    assert with_page.ends(2)[1]["state"] == "done"


def listed(port: int) -> list[Described]:
    found: list[Described] = httpx.get(
        f"http://127.0.0.1:{port}/api/v1/predictions", params={"limit": 1000}, timeout=SOON_S
    ).json()
    return found


def test_the_page_ends_with_its_daemon_and_without_its_table(
    daemon: Callable[..., Daemon], settings: Callable[[str], Path]
) -> None:
    file = settings("[page]\n")
    port = free_port()
    with_page = daemon(
        "--config", str(file), "--reload-on-hup", env={"TINYAST_PAGE__PORT": str(port)}
    ).start()
    pid = running_page(with_page)["pid"]
    assert "page        running, process" in subprocess.run(
        [sys.executable, "-m", "daemon", "status", "--replay", with_page.replay],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert with_page.stop() == 0
    assert not alive(pid)
    assert f"page: the page is at http://127.0.0.1:{port}/" in with_page.tail()
    assert "vicorn" not in with_page.tail()  # it would say so once more, and to press Ctrl-C

    with_page.env.pop("TINYAST_PAGE__PORT")
    settings(f"[page]\nport = {port}\n")
    with socket.create_server(("127.0.0.1", port)):
        with_page.start()
        (lost,) = of_helpers(with_page, "helper_lost")
    assert lost["code"] == "ended"
    assert f"cannot listen at 127.0.0.1:{port}" in lost["text"]
    settings("")
    with_page.send(signal.SIGHUP)
    with_page.wait_for(lambda: with_page.status()["helpers"] == [], "without a page")
    assert with_page.stop() == 0


# -- other helpers: any program ------------------------------------------------------------------


class Statuses:
    """What helpers had the daemon say."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, str]] = []  # status, code, text
        self._news = threading.Condition()

    def __call__(self, what: str, text: str, source: object = None, **details: Any) -> None:
        with self._news:
            self.said.append((what, details.get("code", ""), text))
            self._news.notify_all()

    def wait(self, what: str, count: int = 1) -> None:
        def there() -> bool:
            return [status for status, _, _ in self.said].count(what) >= count

        with self._news:
            assert self._news.wait_for(there, 60), self.said


def script(name: str, code: str) -> Helper:
    return Helper(name, (sys.executable, "-c", code))


@contextmanager
def supervised(*wanted: Helper) -> Iterator[tuple[Helpers, Statuses]]:
    said = Statuses()
    running = Helpers(wanted, said)
    faults: list[BaseException] = []
    with Running([running], faults.append):
        yield running, said
    assert not faults


def pids(running: Helpers, *names: str) -> dict[str, int | None]:
    """Process IDs of these, once they and no others run."""

    def found() -> bool:
        states = running.states
        return {each.name for each in states if each.state == "running"} == set(names) and len(
            states
        ) == len(names)

    until(found, f"running {names}")
    return {each.name: each.pid for each in running.states}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helpers, "PAUSE_S", (0.01, 0.04))
    monkeypatch.setattr(helpers, "CHECK_S", 0.01)


READY_ONCE = f"""
import os, sys, time
first = not os.path.exists(sys.argv[1])
open(sys.argv[1], "a").close()
print("why it ends" if first else {READY!r} + "here", flush=True)
time.sleep(0 if first else 600)
sys.exit(7)
"""


@pytest.mark.usefixtures("quick")
def test_each_end_is_reported_once_with_its_reason(tmp_path: Path) -> None:
    missing = Helper("missing", (str(tmp_path / "no-such-program"),))
    once = Helper("once", (sys.executable, "-c", READY_ONCE, str(tmp_path / "mark")))
    crashing = script("crashing", "import os\nos.abort()")
    with supervised(missing, once, crashing) as (running, said):
        said.wait("helper_back")
        said.wait("helper_lost", 3)
        states = {state.name: state for state in running.states}
        assert (states["once"].state, states["once"].restarts) == ("running", 1)
        assert (states["missing"].state, states["missing"].pid) == ("lost", None)
        once_pid = states["once"].pid
    texts = {text.partition(":")[0]: (code, text) for _, code, text in said.said if code}
    assert texts["once"] == ("ended", "once: it ended with 7: why it ends")
    assert texts["missing"][0] == "cannot_start"
    assert texts["crashing"] == ("killed", "crashing: it was ended by SIGABRT")
    assert [what for what, _, _ in said.said].count("helper_lost") == 3
    assert once_pid is not None
    assert not alive(once_pid)


@pytest.mark.usefixtures("quick")
def test_one_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper_process, "READY_S", 0.1)
    monkeypatch.setattr(helper_process, "END_S", 0.1)
    deaf = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    mute = script("mute", deaf + "time.sleep(600)")
    with supervised(mute) as (_, said):
        said.wait("helper_lost")
        assert said.said[0][1] == "hung"
    stubborn = script("stubborn", f"{deaf}print({READY!r} 'here', flush=True)\ntime.sleep(600)")
    monkeypatch.setattr(helper_process, "READY_S", 60)
    with supervised(stubborn) as (running, said):
        pid = pids(running, "stubborn")["stubborn"]
    assert pid is not None
    assert not alive(pid)


@pytest.mark.usefixtures("quick")
def test_helpers_that_change_are_replaced_and_others_go_on() -> None:
    work = f"import time\nprint({READY!r} 'here', flush=True)\ntime.sleep(600)"
    one, two = script("one", work), script("two", work)

    with supervised(one, two) as (running, said):
        before = pids(running, "one", "two")
        running.go_by([one, Helper("two", two.argv, {"CHANGED": "1"}), script("three", work)])
        after = pids(running, "one", "two", "three")
        assert after["one"] == before["one"]
        assert after["two"] != before["two"]
        running.go_by([])
        assert pids(running) == {}
    assert not said.said
