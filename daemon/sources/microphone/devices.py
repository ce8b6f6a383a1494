"""What inputs there are, and a second of one, for `tinyastd devices` and `doctor`."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from daemon.errors import DaemonError
from daemon.settings.schema import Microphone
from daemon.sources.microphone.framing import Block, Failure, Hello, Parser
from tinyast.arrays import Float

ANSWER_S = 10.0


def list_inputs() -> list[dict[str, Any]]:
    """Every input by name, channels and rate. Raises DaemonError where there is no telling."""
    command = [sys.executable, "-m", "daemon.sources.microphone.capture", "--list"]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=ANSWER_S)
    except subprocess.TimeoutExpired as error:
        raise DaemonError(
            "the sound system does not answer; its server hangs, so restart it"
        ) from error
    if ended.returncode < 0:
        raise DaemonError(
            f"PortAudio was ended by {signal.Signals(-ended.returncode).name}; see whether ALSA's "
            "configuration is in order (`arecord -L` reads it too)"
        )
    if ended.returncode:
        lines = ended.stderr.decode("utf-8", "replace").strip().splitlines()
        raise DaemonError(lines[-1] if lines else "the sound system cannot be asked")
    found: list[dict[str, Any]] = json.loads(ended.stdout)
    if not found:
        raise DaemonError(
            "there is no input at all; plug a microphone in, and see that this user may use it "
            "(on Linux, the group `audio`)"
        )
    return found


@dataclass(frozen=True)
class Sample:
    """A moment of a microphone."""

    device: str
    rate: int  # Hz
    samples: Float

    @property
    def level_dbfs(self) -> float:
        rms = float(np.sqrt(np.mean(np.square(self.samples, dtype=np.float64))))
        return 20 * float(np.log10(max(rms, 1e-10)))

    @property
    def clipped(self) -> float:
        """Share of samples at full scale."""
        return float(np.mean(np.abs(self.samples) >= 0.999))

    @property
    def zeros(self) -> bool:
        return not self.samples.any()


def record(settings: Microphone, seconds: float = 1.0) -> Sample:
    """Record a moment, in a process that is killed if it hangs. Raises DaemonError."""
    command = [
        sys.executable,
        "-m",
        "daemon.sources.microphone.capture",
        "--parent",
        str(os.getpid()),
    ]
    command += ["--device", settings.device, "--rate", str(settings.rate)]
    command += ["--channels", str(settings.channels)]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        return _record(child.stdout.fileno(), seconds)
    finally:
        child.kill()
        child.stdout.close()
        child.wait()


def _record(fd: int, seconds: float) -> Sample:
    parser, hello = Parser(), Hello("", 1, 1)
    blocks: list[Float] = []
    deadline = time.monotonic() + ANSWER_S + seconds
    while sum(map(len, blocks)) < seconds * hello.rate or not blocks:
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        data = os.read(fd, 1 << 16) if ready else b""
        if not data:
            raise DaemonError("no sound came from the device; it or its server hangs")
        for item in parser.feed(data):
            match item:
                case Hello():
                    hello = item
                case Block():
                    blocks.append(item.samples)
                case Failure(_, text):
                    raise DaemonError(text)
    return Sample(hello.device, hello.rate, np.concatenate(blocks))
