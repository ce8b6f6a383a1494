"""The systemd unit: what it says, and what it does under a real systemd."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, SHARED

from daemon.unit import render


def test_the_unit_starts_this_installation(tmp_path: Path) -> None:
    text = render(tmp_path / "mine.toml", user=False)
    (start,) = re.findall(r"^ExecStart=(.*)$", text, re.M)
    assert start.endswith(f"run --config {tmp_path / 'mine.toml'}")
    assert Path(start.split()[0]).exists()


def test_install_service_for_a_user_writes_below_the_users_configuration(tmp_path: Path) -> None:
    env = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "daemon", "install-service", "--user"]
    ended = subprocess.run(command, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "systemctl --user enable --now tinyastd" in ended.stdout
    text = (tmp_path / "systemd" / "user" / "tinyastd.service").read_text()
    assert "DynamicUser" not in text
    assert "ipc://%t/tinyast/publish" in text
    assert "WantedBy=default.target" in text


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


DRIVE = r"""
up() { for i in $(seq 150); do
         [ "$(systemctl is-active tinyastd)" = active ] && return; sleep .2
       done
       echo "not up"; systemctl status tinyastd --no-pager; cat /run/out.log; exit 1; }
pid() { systemctl show -p MainPID --value tinyastd; }
up; echo started
systemctl reload tinyastd && echo reloaded
first=$(pid); kill -9 $first
for i in $(seq 50); do [ "$(pid)" != "$first" ] && [ "$(pid)" != 0 ] && break; sleep .2; done
up; echo restarted
kill -STOP $(pid); second=$(pid)
for i in $(seq 150); do [ "$(pid)" != "$second" ] && [ "$(pid)" != 0 ] && break; sleep .2; done
up; echo hang mended
systemctl stop tinyastd; echo stopped $(systemctl show -p Result --value tinyastd)
systemctl show -p ExecMainStatus --value tinyastd
"""


@needs_systemd
def test_start_reload_kill_hang_and_stop_under_a_real_systemd(tmp_path: Path) -> None:
    nest = SHARED / "systemd" / "nest.sh"
    if not nest.exists():
        pytest.skip(f"there is no {nest} to boot a systemd with")
    if os.geteuid() != 0 or not os.access("/sys/fs/cgroup", os.W_OK):
        pytest.skip("booting a systemd needs root and writable control groups")
    state = f"tinyast-test-{os.getpid()}"
    (tmp_path / "in").mkdir()
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
        ("StateDirectory=tinyast", f"StateDirectory={state}"),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    text = text.replace("[Service]", f"[Service]\nWorkingDirectory={ROOT}", 1)
    unit, drive = tmp_path / "tinyastd.service", tmp_path / "drive.sh"
    unit.write_text(text)
    drive.write_text(DRIVE)
    try:
        told = subprocess.run(
            ["bash", str(nest), str(unit), str(drive), "120"], capture_output=True, text=True
        )
    finally:
        shutil.rmtree(Path("/var/lib") / state, ignore_errors=True)
    # Before that a busy machine's systemd may say that it is not up yet.
    assert told.stdout.split("\n")[-7:-1] == [
        "started",
        "reloaded",
        "restarted",
        "hang mended",
        "stopped success",
        "0",
    ], told.stdout + told.stderr
