"""A hung mount, a full disk and a microphone that hangs, beside a healthy folder, under systemd."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SHARED
from disks import fill_disk, mounted
from failing_disk import FailingDisk
from running import STRESS, stress
from sounds import short_wav
from virtual_mic import SoundServer, what_is_missing

from daemon.client import Client, NoAnswer
from daemon.commands.install_service import render

READY_S = 90.0
EVERY_S = 0.2  # between files of the healthy folder
HEARTBEAT_S = 6.0  # the most from one to the next
LATE_S = 0.1
# Few files say little about their slowest.
SHARE, RATIO = (0.99, 2) if STRESS >= 1 else (0.9, 3)
DRIVE = """\
for i in $(seq {turns}); do [ -e {base}/end ] && break; sleep 1; done
echo $(systemctl show -p NRestarts -p Result -p ActiveState --value tinyastd)
systemctl stop tinyastd
echo $(systemctl show -p Result -p ExecMainStatus --value tinyastd)
"""


@contextmanager
def booted(base: Path, state: Path, env: dict[str, str], limit_s: float) -> Iterator[Path]:
    """A systemd that runs the unit, with its watchdog, on `base`/settings.toml; its output."""
    nest = SHARED / "systemd" / "nest.sh"
    if not nest.exists():
        pytest.skip(f"there is no {nest} to boot a systemd with")
    if os.geteuid() != 0 or not os.access("/sys/fs/cgroup", os.W_OK):
        pytest.skip("booting a systemd needs root and writable control groups")
    text = render(base / "settings.toml", user=False)
    # This test's files lie in /tmp, and its sound server there too.
    for old, new in (
        ("PrivateTmp=yes", "PrivateTmp=no"),
        ("DynamicUser=yes", "User=root"),
        ("PrivateUsers=yes", "PrivateUsers=no"),
        ("WatchdogSec=60", "WatchdogSec=20"),
        ("StateDirectory=tinyast", f"StateDirectory={state.name}"),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    text = "".join(
        f"{'#' if line.startswith('Environment=') else ''}{line}\n" for line in text.splitlines()
    )
    given = "".join(f'Environment="{name}={value}"\n' for name, value in env.items())
    text = text.replace("[Service]\n", f"[Service]\nWorkingDirectory={ROOT}\n{given}", 1)
    unit, drive = base / "tinyastd.service", base / "drive.sh"
    unit.write_text(text)
    drive.write_text(DRIVE.format(base=base, turns=round(limit_s)))
    out = base / "nest.log"
    with out.open("wb") as log:
        command = ["bash", str(nest), str(unit), str(drive), str(round(limit_s))]
        running = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield out
        (base / "end").touch()
        running.wait(60)
    finally:
        (base / "end").touch()
        if running.poll() is None:
            running.terminate()
            running.wait(60)
        shutil.rmtree(state, ignore_errors=True)


class Ear:
    """A subscriber that drops files into the healthy folder and notes when it hears their ends."""

    def __init__(self, client: Client, folder: Path) -> None:
        self._client, self._folder = client, folder
        self._numbers = itertools.count()
        self._beat: object = None
        self.beats: list[float] = []  # time.monotonic() of each heartbeat
        self.states: dict[str, str] = {}  # of each source, in the newest

    def listen(self, seconds: float) -> list[float]:
        """The latency, in seconds, of each file dropped in that time: closed until heard."""
        latencies: dict[str, float] = {}
        dropped: dict[str, float] = {}
        until, drop_at = time.monotonic() + seconds, 0.0
        while (now := time.monotonic()) < until or len(latencies) < len(dropped):
            assert now < until + 30, f"no end of {set(dropped) - set(latencies)}"
            if drop_at <= now < until:
                drop_at = now + EVERY_S
                path = self._folder / f"{next(self._numbers)}.wav"
                path.write_bytes(short_wav(seconds=0.5, seed=len(dropped)))
                dropped[str(path)] = time.monotonic()
            received = self._client.receive(0.02)
            if self._client.heartbeat is not self._beat and self._client.heartbeat is not None:
                self._beat = self._client.heartbeat
                self.beats.append(time.monotonic())
                sources = self._client.heartbeat["sources"]
                self.states = {each["name"]: each["state"] for each in sources}
            if received is not None and received.message["type"] == "file":
                path = received.message["source"]["path"]
                if path in dropped:
                    assert received.message["state"] == "done"
                    latencies[path] = time.monotonic() - dropped[path]
        return list(latencies.values())


def slow(values: list[float]) -> float:
    """What all but a few of the values are below."""
    return float(np.quantile(values, SHARE))


@pytest.mark.timeout(1200)
def test_trouble_on_three_sides_leaves_a_healthy_folder_alone(tmp_path: Path) -> None:
    if (why := what_is_missing()) is not None:
        pytest.skip(why)
    seconds = stress(600) if STRESS >= 0.2 else 16  # three heartbeats
    state = Path("/var/lib") / f"tinyast-test-{os.getpid()}"
    (tmp_path / "healthy").mkdir()
    (tmp_path / "hung").mkdir()
    sound = SoundServer()
    settings = "".join(
        f'[[folder]]\nname = "{name}"\npath = "{tmp_path / path}"\n{more}'
        for name, path, more in (
            ("healthy", "healthy", ""),
            ("hung", "hung/in", 'watch = "poll"\npoll = 0.5\nsettle = 0.5\n'),
            ("full", "full", 'after = "move"\nsettle = 0.5\n'),
        )
    )
    (tmp_path / "settings.toml").write_text(settings + '[[microphone]]\nname = "mic"\n')
    endpoints = [f"ipc://{state}/{name}" for name in ("publish", "replay")]
    env = {
        "TINYAST_PUBLISH": endpoints[0],
        "TINYAST_REPLAY": endpoints[1],
        **sound.env,
    }
    try:
        sound.start()
        with (
            mounted(tmp_path / "full", "size=1m,nr_inodes=20,mode=755") as full,
            FailingDisk(tmp_path / "hung") as disk,
            booted(tmp_path, state, env, seconds + 2 * READY_S) as out,
            Client(endpoints[0], endpoints[1], 0, ("tinyast.v1.",)) as client,
        ):
            _wait_until_up(client)
            ear = Ear(client, tmp_path / "healthy")
            before = ear.listen(6 + seconds / 20)

            for number in range(5):
                (disk.source / f"{number}.wav").write_bytes(short_wav(number))
                (full / f"{number}.wav").write_bytes(short_wav(number, 0.1))
            fill_disk(full)
            for number in range(os.statvfs(full).f_favail):
                (full / f"{number}.tmp").touch()
            disk.fail("open", "hang")
            disk.fail("stat", "hang")
            sound.hang()
            during = ear.listen(seconds)
            states = ear.states
            degraded = [s["name"] for s in client.status()["sources"] if s.get("degraded")]
            disk.works()
            sound.go_on()
        said = out.read_text().splitlines()
    finally:
        sound.clean_up()
    gaps = np.diff(ear.beats)
    print(
        f"{seconds} s of trouble: {SHARE:.0%} of {len(during)} files within "
        f"{slow(during) * 1e3:.0f} ms, before {slow(before) * 1e3:.0f} ms; "
        f"heartbeats at most {gaps.max():.1f} s apart; {states}"
    )
    assert said[-2:] == ["success 0 active", "success 0"], "it was started again, or ended badly"
    assert states["hung"] == "blocked"
    assert states["healthy"] == "watching"
    assert "full" in degraded, "nothing can be moved there"
    assert states["mic"] != "listening"
    # A busy machine is slow before, too.
    assert gaps.max() <= HEARTBEAT_S + 2 * slow(before)
    assert slow(during) < max(LATE_S, RATIO * slow(before))


def _wait_until_up(client: Client) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            client.status()
            return
        except NoAnswer:
            assert time.monotonic() < deadline, "the daemon does not answer"
