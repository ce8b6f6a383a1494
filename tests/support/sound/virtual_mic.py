"""A private sound server with virtual microphones, to play into, unplug, hang and kill.

Each is a null sink of PulseAudio, whose monitor ALSA gives to PortAudio under the sink's name.
Debian: libportaudio2 pulseaudio pulseaudio-utils libasound2-plugins.
"""

from __future__ import annotations

import ctypes.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 44_100  # Hz, of the sinks: sound at this rate is captured unchanged
START_S = 60.0
PACKAGES = "libportaudio2 pulseaudio pulseaudio-utils libasound2-plugins"


def what_is_missing() -> str | None:
    """The reason why virtual microphones are unavailable; None if they work."""
    programs = [name for name in ("pulseaudio", "pactl", "paplay") if shutil.which(name) is None]
    if ctypes.util.find_library("portaudio") is None:
        programs.append("PortAudio")
    return f"no {', '.join(programs)}; apt install {PACKAGES}" if programs else None


class SoundServer:
    """PulseAudio with the sinks and microphones `names`; the first is the default."""

    def __init__(self, names: tuple[str, ...] = ("mic0",)) -> None:
        self.names = names
        self.base = Path(tempfile.mkdtemp(prefix="mic"))  # short: it holds sockets
        self._asound = self.base / "asound.conf"
        lines = ["</usr/share/alsa/alsa.conf>", "pcm.!default { type pulse }"]
        lines.append("ctl.!default { type pulse }")
        # PortAudio lists only inputs that open at its start, so an absent microphone is not listed.
        lines += [f"pcm.{name} {{ type pulse device {name}.monitor }}" for name in names]
        self._asound.write_text("\n".join(lines) + "\n")
        self.env = {
            "XDG_RUNTIME_DIR": str(self.base),
            "PULSE_SERVER": f"unix:{self.base}/native",
            "ALSA_CONFIG_PATH": str(self._asound),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._players: list[subprocess.Popen[bytes]] = []

    # -- its life ------------------------------------------------------------------------------

    def start(self, sinks: bool = True) -> SoundServer:
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1"]
        command += ["--use-pid-file=no", "--log-target=stderr"]
        command += ["-L", f"module-native-protocol-unix auth-anonymous=1 socket={self.base}/native"]
        command += ["-L", f"module-cli-protocol-unix socket={self.base}/cli"]
        with (self.base / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **self.env}
            )
        deadline = time.monotonic() + START_S
        while self.ask("info", check=False) is None:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise AssertionError((self.base / "log").read_text()[-2000:])
            time.sleep(0.02)
        if sinks:
            self.plug_in()
        return self

    def plug_in(self) -> None:
        for name in self.names:
            self.ask(
                "load-module",
                "module-null-sink",
                f"sink_name={name}",
                f"rate={RATE}",
                "channels=1",
                "format=s16le",
            )
        self.ask("set-default-source", f"{self.names[0]}.monitor")
        self.ask("set-default-sink", self.names[0])

    def pull_out(self) -> None:
        """Unplug all microphones at once."""
        self.ask("unload-module", "module-null-sink")

    def kill(self) -> None:
        """End the server like a crash."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        # A restarted server refuses sockets that an earlier one left behind.
        for name in ("native", "cli"):
            (self.base / name).unlink(missing_ok=True)

    def hang(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def clean_up(self) -> None:
        for player in self._players:
            player.kill()
            player.wait()
        if self._process is not None and self._process.poll() is None:
            self.go_on()
            self.kill()
        shutil.rmtree(self.base, ignore_errors=True)

    # -- requests ------------------------------------------------------------------------------

    def ask(self, *words: str, check: bool = True) -> str | None:
        """Run `pactl`; return its output, or None if it failed."""
        ended = subprocess.run(
            ["pactl", *words],
            capture_output=True,
            text=True,
            timeout=START_S,
            env={**os.environ, **self.env},
        )
        if ended.returncode == 0:
            return ended.stdout
        assert not check, ended.stderr
        return None

    def end_recordings(self) -> None:
        """End every client's recording without a reason, as an administrator could."""
        listed = self.ask("list", "short", "source-outputs") or ""
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(f"{self.base}/cli")
            for line in listed.splitlines():
                control.sendall(f"kill-source-output {line.split()[0]}\n".encode())
            control.settimeout(1)
            with suppress(TimeoutError):
                while control.recv(4096):
                    pass

    # -- speaking into it ----------------------------------------------------------------------

    def play(self, samples: NDArray[np.int16] | Path, name: str = "") -> subprocess.Popen[bytes]:
        """Begin to play samples at 44.1 kHz, or a file; call `wait` on the result."""
        if isinstance(samples, Path):
            path = samples
        else:
            path = self.base / f"played-{len(self._players)}.wav"
            soundfile.write(path, samples, RATE, subtype="PCM_16")
        player = subprocess.Popen(
            ["paplay", "--device", name or self.names[0], str(path)],
            env={**os.environ, **self.env},
        )
        self._players.append(player)
        return player


def wait_until(true: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"not {what} within {timeout:g} s"
        time.sleep(0.02)
