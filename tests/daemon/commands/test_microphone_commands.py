"""`tinyastd devices`, `doctor --mic` and `run --mic`, on a virtual microphone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from live import is_live, is_status, noise
from running import Daemon, of_type
from virtual_mic import RATE, SoundServer, what_is_missing

from daemon.commands.doctor import check_live
from daemon.errors import DaemonError
from daemon.settings.schema import Microphone
from daemon.sources.microphone import devices

pytestmark = pytest.mark.skipif(what_is_missing() is not None, reason=what_is_missing() or "")


@pytest.fixture
def server() -> Iterator[SoundServer]:
    one = SoundServer(("mic0", "mic1"))
    try:
        yield one.start()
    finally:
        one.clean_up()


def tinyastd(
    server: SoundServer, *words: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "daemon", *words],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **server.env, **(env or {})},
    )


def test_devices(server: SoundServer) -> None:
    ended = tinyastd(server, "devices")
    assert ended.returncode == 0, ended.stderr
    names = [line.split()[0] for line in ended.stdout.splitlines()]
    assert {"mic0", "mic1", "default"} <= set(names)
    (default,) = [line for line in ended.stdout.splitlines() if line.endswith("(default)")]
    assert default.startswith("default ")
    assert f"{RATE} Hz" in default


def test_devices_where_alsa_is_broken(server: SoundServer) -> None:
    broken = server.base / "broken.conf"
    broken.write_text("pcm.!default { type nothing of the kind }")
    ended = tinyastd(server, "devices", env={"ALSA_CONFIG_PATH": str(broken)})
    assert ended.returncode == 1
    assert "ALSA" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_devices_without_portaudio(server: SoundServer) -> None:
    (server.base / "libportaudio.so.2").write_bytes(b"no library")
    ended = tinyastd(server, "devices", env={"LD_LIBRARY_PATH": str(server.base)})
    assert ended.returncode == 1
    assert "apt install libportaudio2" in ended.stderr


@pytest.fixture
def here(server: SoundServer, monkeypatch: pytest.MonkeyPatch) -> SoundServer:
    """The same, for what runs in the tests' own process."""
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(devices, "ANSWER_S", 60.0)  # for a busy machine
    return server


def test_a_server_that_hangs(here: SoundServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "ANSWER_S", 2.0)
    here.hang()
    with pytest.raises(DaemonError, match="hang"):
        devices.list_inputs()
    check = check_live(Microphone(device="mic0"))
    assert check.state == "fail"
    assert "hang" in check.text
    here.go_on()


def test_doctor(here: SoundServer) -> None:
    silent = check_live(Microphone(device="mic1"))
    assert (silent.state, "digital silence" in silent.text) == ("warn", True)
    here.play(noise(60), "mic1")
    heard = check_live(Microphone(device="mic1"))
    assert heard.state == "ok"
    assert f"`mic1` at {RATE} Hz, -2" in heard.text
    here.play((100 * noise(60).astype("int32")).clip(-32768, 32767).astype("int16"), "mic0")
    loud = check_live(Microphone(device="mic0"))
    assert (loud.state, "of samples clip" in loud.text) == ("warn", True)
    other = check_live(Microphone(device="nonsense"))
    assert (other.state, "`mic0`" in other.text) == ("fail", True)


def test_doctor_on_the_command_line(server: SoundServer, tmp_path: Path) -> None:
    words = ("--watch", str(tmp_path), "--state", str(tmp_path / "s"), "--device", "mic1")
    ended = tinyastd(server, "doctor", *words)
    (line,) = [line for line in ended.stdout.splitlines() if " mic mic " in line]
    assert line.startswith("warn")


@pytest.mark.parametrize(
    ("words", "device"), [(("--mic",), "default"), (("--mic", "--device", "mic1"), "mic1")]
)
def test_run(server: SoundServer, tmp_path: Path, words: tuple[str, ...], device: str) -> None:
    daemon = Daemon(tmp_path, *words, env=server.env)
    try:
        daemon.start()
        server.play(noise(20), "mic1" if device == "mic1" else "mic0")
        heard = daemon.hear(lambda r: any(m["rms_dbfs"] > -70 for m in of_type(r, "prediction")))
        assert all(is_live(m) for m in of_type(heard, "prediction"))
        assert not [r for r in heard if is_status("source_lost")(r.message)]
        _, source = daemon.status()["sources"]
        assert (source["kind"], source["name"], source["device"]) == ("mic", "mic", device)
        assert source["state"] == "hearing"
        shown = tinyastd(server, "status", "--publish", daemon.publish, "--replay", daemon.replay)
        assert f"hearing, {device}" in shown.stdout
        assert "dBFS" in shown.stdout
        assert daemon.stop() == 0
    finally:
        daemon.clean_up()
