"""List the inputs and record a second of one, for `tinyastd devices` and `doctor`."""

from __future__ import annotations

import signal
import subprocess
import time
from dataclasses import dataclass

import msgspec
import numpy as np

from daemon.errors import DaemonError
from daemon.settings.schema import Microphone, Stream
from daemon.sources.microphone.framing import Block, Failure, Hello, Input
from daemon.sources.microphone.process import COMMAND, CaptureFailed, CaptureProcess
from tinyast.arrays import Float

ANSWER_S = 10.0


def list_inputs() -> list[Input]:
    """Every input by name, channels and rate. Raises DaemonError if there are no inputs."""
    try:
        ended = subprocess.run([*COMMAND, "--list"], capture_output=True, timeout=ANSWER_S)
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
    found = msgspec.json.decode(ended.stdout, type=list[Input])
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
        rms = float(np.std(self.samples, dtype=np.float64))  # without an offset, which is no sound
        return 20 * float(np.log10(max(rms, 1e-10)))

    @property
    def clipped(self) -> float:
        """Share of samples at full scale."""
        return float(np.mean(np.abs(self.samples) >= 0.999))

    @property
    def zeros(self) -> bool:
        return not self.samples.any()


def record(settings: Microphone | Stream, seconds: float = 1.0) -> Sample:
    """Record for `seconds`, in a process that is killed if it hangs. Raises DaemonError."""
    try:
        with CaptureProcess(settings, settings.device) as capture:
            return _collect(capture, seconds)
    except CaptureFailed as failure:
        raise DaemonError(str(failure)) from failure


def _collect(capture: CaptureProcess, seconds: float) -> Sample:
    hello = Hello("", 1, 1)
    blocks: list[Float] = []
    deadline = time.monotonic() + capture.open_s + seconds
    for items in capture.items():
        for item in items:
            match item:
                case Hello():
                    hello = item
                case Block():
                    blocks.append(item.samples)
                case Failure(code, text):
                    raise CaptureFailed(code, text)
        if blocks and sum(map(len, blocks)) >= seconds * hello.rate:
            break
        if time.monotonic() > deadline:
            raise CaptureFailed("stalled", "too little sound came from the device in time")
    return Sample(hello.device, hello.rate, np.concatenate(blocks))
