"""The systemd unit: its text, and its behaviour under a real systemd."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from conftest import ROOT, SHARED
from running import free_port, tinyastd
from sounds import long_wav

from daemon.commands.install_service import install, installed, render
from daemon.errors import SettingsError
from daemon.host.access import unreachable, unreadable
from daemon.settings.loading import load


def test_the_unit_starts_this_installation(tmp_path: Path) -> None:
    text = render(tmp_path / "mine.toml", user=False)
    (start,) = re.findall(r"^ExecStart=(.*)$", text, re.M)
    assert start.endswith(f"run --config {tmp_path / 'mine.toml'}")
    assert Path(start.split()[0]).exists()


@pytest.mark.parametrize(
    ("folder", "program", "settings"),
    [
        ("plain-1", "{}/bin/tinyastd", "{}/a.toml"),
        ("my files", '"{}/bin/tinyastd"', '"{}/a.toml"'),
        ("50% $x", '"{}/bin/tinyastd"', '"{}/a.toml"'),
    ],
)
def test_the_unit_names_any_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, program: str, settings: str
) -> None:
    place = tmp_path / folder
    (place / "bin").mkdir(parents=True)
    (place / "bin" / "tinyastd").touch()
    monkeypatch.setattr(sys, "executable", str(place / "bin" / "python"))
    (start,) = re.findall(r"^ExecStart=(.*)$", render(place / "a.toml", user=False), re.M)
    # systemd puts variables into arguments, not into the program's path.
    path = str(place).replace("%", "%%")
    expected = f"{program.format(path)} run --config {settings.format(path.replace('$', '$$'))}"
    assert start == expected


def test_a_user_without_a_home_gets_no_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 5)  # the system does not know it
    with pytest.raises(
        SettingsError, match="no home; set HOME, or name a folder in XDG_CONFIG_HOME"
    ):
        install(None, user=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(SettingsError, match="no home; set HOME, or name a folder with --watch"):
        install(None, user=True)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.delenv("XDG_CONFIG_HOME")
    installed()  # looks for the system's alone


def installing(base: Path, *options: object) -> subprocess.CompletedProcess[str]:
    """`install-service --user` with `base` as the home of the user."""
    env = {**os.environ, "XDG_CONFIG_HOME": str(base / "config"), "HOME": str(base)}
    command = [sys.executable, "-m", "daemon", "install-service", "--user", *map(str, options)]
    return subprocess.run(command, env=env, capture_output=True, text=True)


def test_install_service_for_a_user_writes_a_unit_and_settings_that_work(tmp_path: Path) -> None:
    done = installing(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "systemctl --user enable --now tinyastd" in done.stdout
    text = (tmp_path / "config" / "systemd" / "user" / "tinyastd.service").read_text()
    assert "DynamicUser" not in text
    assert "ipc://%t/tinyast/publish" in text
    assert "WantedBy=default.target" in text
    settings = tmp_path / "config" / "tinyast" / "tinyast.toml"
    (start,) = re.findall(r"^ExecStart=.* --config (.*)$", text, re.M)
    assert start == str(settings)
    (folder,) = load(settings, environ={}).folder
    assert folder.path == str(tmp_path / "tinyast-recordings")
    assert Path(folder.path).is_dir()
    # What is there already stays.
    settings.write_text(settings.read_text() + "[decision]\nthreshold = 0.5\n")
    again = installing(tmp_path)
    assert f"kept {settings}, watching {folder.path}" in again.stdout
    assert "0.5" in settings.read_text()
    assert "name the folder in it" in installing(tmp_path, "--watch", tmp_path).stderr


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('[[folder]]\npath = "data/test"\n', "watch data/test, which a service looks for in"),
        ("", "watch data/test, which a service looks for in"),
        ('[[folder]]\npath = "/not/there"\n', "watch /not/there, and there is no such folder"),
        ("threshold = 0.5\n", "threshold"),
    ],
)
def test_install_service_refuses_settings_that_cannot_work(
    tmp_path: Path, settings: str, words: str
) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(settings)
    done = installing(tmp_path, "--config", config)
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "config" / "systemd").exists()


def test_install_service_with_a_folder_of_choice(tmp_path: Path) -> None:
    missing = installing(tmp_path, "--watch", tmp_path / "gone")
    assert (missing.returncode, "make it first" in missing.stderr) == (2, True)
    (tmp_path / 'a "b"').mkdir()
    done = installing(tmp_path, "--watch", tmp_path / 'a "b"', "--config", tmp_path / "mine.toml")
    assert done.returncode == 0, done.stderr
    (folder,) = load(tmp_path / "mine.toml", environ={}).folder
    assert folder.path == str(tmp_path / 'a "b"')


def test_a_folder_on_the_way_that_the_service_may_not_enter(tmp_path: Path) -> None:
    """The service runs as a separate user, and has a private /tmp."""
    closed = tmp_path / "closed"
    (closed / "bin").mkdir(parents=True)
    closed.chmod(0o700)
    assert unreachable(str(closed / "bin" / "tinyastd")) is not None
    assert "has a private /tmp" in (unreadable(Path("/tmp/in")) or "")
    assert unreadable(Path("/usr/share")) is None


def test_a_relative_folder_that_is_missing_stops_the_daemon_for_good(tmp_path: Path) -> None:
    """With exit code 2, after which the unit does not start it again."""
    config = tmp_path / "tinyast.toml"
    shutil.copy(ROOT / "config" / "tinyast.toml", config)
    state = ("--state", tmp_path / "state")
    done = tinyastd("run", "--config", config, *state, cwd=tmp_path)
    assert done.returncode == 2
    assert f"no such folder in {tmp_path}, where the daemon was started" in done.stderr
    assert "RestartPreventExitStatus=2" in render(config, user=True)


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not installed"
)


@needs_systemd
def test_the_sandbox_is_tight() -> None:
    unit = ROOT / "config" / "tinyastd.service"
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    told = subprocess.run(command, capture_output=True, text=True).stdout
    exposure = re.search(r"Overall exposure level for .*: ([\d.]+)", told)
    assert exposure is not None, told
    print(f"exposure {exposure[1]}")
    assert float(exposure[1]) <= 1.0


def drop_ins() -> list[str]:
    """Those that docs/operations.md has, for TCP with keys and for a microphone."""
    found = re.findall(r"```ini\n(.*?)```", (ROOT / "docs" / "operations.md").read_text(), re.S)
    chosen = [each for each in found if "0.0.0.0" in each or "microphone" in each]
    assert len(chosen) == 2
    return chosen


DRIVE = r"""
up() { for i in $(seq 300); do
         [ "$(systemctl is-active tinyastd 2>/dev/null)" = active ] && return; sleep .2
       done
       echo "not up"; systemctl status tinyastd --no-pager; cat /run/out.log; exit 1; }
pid() { systemctl show -p MainPID --value tinyastd; }
new() { for i in $(seq 300); do [ "$(pid)" != "$1" ] && [ "$(pid)" != 0 ] && break; sleep .2; done
        up; }
exposed() { systemd-analyze security $1 --no-pager | sed -n 's/.* level .*: \([0-9.]*\) .*/\1/p'; }
result() { systemctl show -p $1 --value tinyastd; }
stop() { systemctl stop tinyastd; echo stopped $(result Result) $(result ExecMainStatus); }
keygen() { $PYTHON -m daemon keygen $STATE/keys "$@" >/dev/null; }
heard() { for i in $(seq 300); do
            $PYTHON -c "import sqlite3, sys
db = sqlite3.connect('file:$STATE/journal.sqlite3?mode=ro', uri=True)
sys.exit(not db.execute('SELECT 1 FROM messages WHERE topic = ?', ['$1']).fetchone())" && return
            sleep .2
          done
          echo "$1 was not heard"; exit 1; }

for i in $(seq 300); do systemctl list-units >/dev/null 2>&1 && break; sleep .2; done
cp $SHIPPED /etc/systemd/system/shipped.service
echo exposed $(exposed shipped)
mkdir /etc/systemd/system/shipped.service.d; cp $DROP_INS/* /etc/systemd/system/shipped.service.d
systemctl daemon-reload
echo exposed with drop-ins $(exposed shipped)

up; echo started, sockets in a directory of mode $(stat -c %a /run/tinyast)
systemctl reload tinyastd && heard tinyast.v1.status.reloaded && echo reloaded
first=$(pid); kill -9 $first; new $first; echo restarted
second=$(pid); kill -STOP $second; new $second; echo hang mended
stop

cd $ROOT
keygen; keygen --client friend
sed -i "1i keys = '$STATE/keys'" $CONFIG
cp $DROP_INS/* /etc/systemd/system/tinyastd.service.d
systemctl daemon-reload; systemctl start tinyastd; up; echo started with drop-ins
$PYTHON -m daemon status --replay $REPLAY --server-key $STATE/keys/server.key \
    --own-key $STATE/keys/friend.key_secret | grep -o "journal  *$STATE"
stop
"""


@needs_systemd
@pytest.mark.timeout(400)
def test_start_reload_kill_hang_and_stop_under_a_real_systemd(tmp_path: Path) -> None:
    nest = SHARED / "systemd" / "nest.sh"
    if not nest.exists():
        pytest.skip(f"there is no {nest} to boot a systemd with")
    if os.geteuid() != 0 or not os.access("/sys/fs/cgroup", os.W_OK):
        pytest.skip("booting a systemd needs root and writable control groups")
    name = f"tinyast-test-{os.getpid()}"
    state = Path("/var/lib") / name
    (tmp_path / "in").mkdir()
    long_wav(tmp_path / "in" / "long.wav", 20)  # hours: whatever happens, there is work to do
    config = tmp_path / "tinyast.toml"
    config.write_text(f'[[folder]]\npath = "{tmp_path}/in"\nname = "in"\n')
    text = render(config, user=False)
    # This test's files lie in /tmp and its Python perhaps below /root, where the unit's own
    # temporary directory and user would not see them; and it waits less long for a hang.
    for old, new in (
        ("PrivateTmp=yes", "PrivateTmp=no"),
        ("DynamicUser=yes", "User=root"),
        ("PrivateUsers=yes", "PrivateUsers=no"),
        ("WatchdogSec=60", "WatchdogSec=8"),
        ("StateDirectory=tinyast", f"StateDirectory={name}"),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    text = text.replace("[Service]", f"[Service]\nWorkingDirectory={ROOT}", 1)
    unit, drive = tmp_path / "tinyastd.service", tmp_path / "drive.sh"
    unit.write_text(text)
    ports = {port: str(free_port()) for port in ("5755", "5756")}
    (tmp_path / "drop-ins").mkdir()
    for number, drop_in in enumerate(drop_ins()):
        for port, free in ports.items():
            drop_in = drop_in.replace(f"0.0.0.0:{port}", f"127.0.0.1:{free}")
        (tmp_path / "drop-ins" / f"{number}.conf").write_text(drop_in)
    names = {
        "SHIPPED": ROOT / "config" / "tinyastd.service",
        "DROP_INS": tmp_path / "drop-ins",
        "CONFIG": config,
        "STATE": state,
        "ROOT": ROOT,
        "PYTHON": sys.executable,
        "REPLAY": f"tcp://127.0.0.1:{ports['5756']}",
    }
    drive.write_text("".join(f"{key}={value}\n" for key, value in names.items()) + DRIVE)
    try:
        told = subprocess.run(
            ["bash", str(nest), str(unit), str(drive), "300"], capture_output=True, text=True
        )
        print(told.stdout)
        said = told.stdout + told.stderr
        # Before that a busy machine's systemd may say that it is not up yet.
        lines = told.stdout.splitlines()[-10:]
        exposed = [float(re.sub("[^0-9.]", "", line) or "10") for line in lines[:2]]
        assert lines[2:] == [
            "started, sockets in a directory of mode 700",
            "reloaded",
            "restarted",
            "hang mended",
            "stopped success 0",
            "started with drop-ins",
            f"journal     {state}",
            "stopped success 0",
        ], said
        assert exposed[0] <= 1.0
        assert exposed[1] <= 2.0
        with closing(sqlite3.connect(state / "journal.sqlite3")) as journal:
            messages = [json.loads(body) for (body,) in journal.execute(
                "SELECT body FROM messages ORDER BY seq"
            )]  # fmt: skip
    finally:
        shutil.rmtree(state, ignore_errors=True)
    # All of it under load; no message is lost or repeated.
    assert [m["seq"] for m in messages] == list(range(1, len(messages) + 1))
    windows = [m["window"]["index"] for m in messages if m["type"] == "prediction"]
    assert windows == list(range(len(windows)))
    assert not [m for m in messages if m["type"] == "file"], "it ran out of work"
    statuses = [m["status"] for m in messages if m["type"] == "status"]
    assert statuses.count("started") >= 4, "one may have been killed for a busy machine's sake"
    assert (statuses.count("reloaded"), statuses.count("stopping")) == (1, 2)
    assert messages[-1]["status"] == "stopping"
    print(f"exposed {exposed[0]}, with TCP and a microphone {exposed[1]}; {len(windows)} windows")
