"""The capture process, and the home of sounddevice and PortAudio.

Run as `python -m daemon.sources.microphone.capture`.

It is a separate process because PortAudio can hang without end inside a dead sound server, and a
process can be killed. It writes frames (`daemon.sources.microphone.framing`) to its standard
output and dies with its parent. The audio callback copies, enqueues and returns.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from types import ModuleType
from typing import Protocol

import msgspec
import numpy as np

from daemon.host.clock import clock
from daemon.host.parent import die_with_parent
from daemon.sources.microphone.framing import Block, Failure, Hello, Input, Missed, write

Frames = np.ndarray[tuple[int, int], np.dtype[np.float32]]  # (frames, channels)

CHECK_S = 2.0
# Times out if the server hangs, even if the caller has been killed meanwhile.
ASK = ("timeout", "2", "pactl", "list", "source-outputs")


QUEUE_S = 15.0  # of sound waiting for the daemon to read it; more is dropped and counted
LATENCY_S = 0.1  # of the device's buffer, so that it rarely overflows on a busy machine
POLL_S = 0.5  # interval for noticing that a stream stopped
MANY_CHANNELS = 8  # a device that offers more is virtual, and is opened with one
NICE = -10  # if permitted (root, RLIMIT_NICE)


class Flags(Protocol):
    """PortAudio's flags of a block."""

    input_overflow: bool


class CannotCapture(Exception):
    """Capture is impossible; the text gives the reason, `code` a word for programs."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def load_portaudio() -> ModuleType:
    """Import sounddevice. Raises CannotCapture that names the package to install."""
    try:
        import sounddevice
    except OSError as error:
        raise CannotCapture(
            "no_portaudio",
            f"PortAudio is missing ({error}); install it (Debian: apt install libportaudio2)",
        ) from error
    except ImportError as error:
        raise CannotCapture(
            "no_portaudio", f"sounddevice is missing ({error}); pip install sounddevice"
        ) from error
    except Exception as error:
        if type(error).__name__ != "PortAudioError":  # it cannot be imported at this point
            raise
        raise CannotCapture(
            "no_sound_system",
            f"the sound system cannot be used ({error}); check its configuration (Linux: "
            "ALSA's, which `arecord -L` reads too)",
        ) from error
    module: ModuleType = sounddevice
    return module


def inputs(sounddevice: ModuleType) -> list[Input]:
    """Every input with the name to use, its channels and its rate in Hz."""
    found = []
    for index, device in enumerate(sounddevice.query_devices()):
        if device["max_input_channels"] > 0:
            found.append(
                Input(
                    index,
                    device["name"],
                    device["max_input_channels"],
                    device["default_samplerate"],
                    default=index == sounddevice.default.device[0],
                )
            )
    return found


def choose(found: list[Input], name: str) -> Input:
    """The input of exactly this name, or the default one if it is empty.

    Raises CannotCapture `no_device`.
    """
    matching = [item for item in found if (item.name == name if name else item.default)]
    if not matching and not name and found:
        matching = [item for item in found if item.name == "default"]
    if matching:
        return matching[0]
    there = ", ".join(f"`{item.name}`" for item in found) or "none at all"
    wanted = f"no input is named `{name}`" if name else "there is no default input"
    raise CannotCapture("no_device", f"{wanted}; there is {there} (see `tinyastd devices`)")


def channels_to_open(device: Input, channels: int, channel: int) -> int:
    """How many channels to open, by the settings of these names, of which 0 means none.

    Raises CannotCapture if the device lacks the `channel`.
    """
    there = channels or device.channels
    if channel > there:
        raise CannotCapture(
            "no_channel",
            f"`{device.name}` has {there} channels, so there is no channel {channel} "
            "(setting: channel)",
        )
    return max(channels or (1 if there > MANY_CHANNELS else there), channel)


def capture(
    sounddevice: ModuleType, name: str, rate: int, channels: int, channel: int, out: int
) -> None:
    """Write a device's sound to descriptor `out` until the stream or the pipe ends."""
    device = choose(inputs(sounddevice), name)
    wanted = channels_to_open(device, channels, channel)
    frequency = rate or round(device.rate)
    waiting: queue.SimpleQueue[tuple[int, float, bool, Frames]] = queue.SimpleQueue()
    put = taken = 0  # frames
    missed = 0  # frames dropped since the last block that fitted

    def callback(data: Frames, frames: int, times: object, status: Flags) -> None:
        nonlocal put, missed
        # Once full, wait until half is free: one long gap is better than many.
        room = QUEUE_S / 2 if missed else QUEUE_S
        if put - taken > room * frequency:
            missed += frames
            return
        put += frames
        waiting.put((missed, clock(), bool(status.input_overflow), data.copy()))
        missed = 0

    try:
        stream = sounddevice.InputStream(
            device=device.index,
            channels=wanted,
            samplerate=frequency,
            latency=LATENCY_S,
            dtype="float32",
            callback=callback,
        )
        stream.start()
    except sounddevice.PortAudioError as error:
        raise CannotCapture("cannot_open", f"`{device.name}` cannot be opened: {error}") from error
    write(out, Hello(device.name, frequency, wanted))
    placement = Placement()
    placement.start()
    while not placement.moved:
        try:
            missed_before, at, overflow, data = waiting.get(timeout=POLL_S)
        except queue.Empty:
            if not stream.active:
                raise CannotCapture("stopped", "the stream stopped by itself") from None
            continue
        taken += len(data)
        if missed_before:
            write(out, Missed(missed_before))
        write(out, Block(at, overflow, data.ravel()))
    raise CannotCapture("moved", "the sound server moved the stream to another microphone")


class Placement(threading.Thread):
    """Watches for a change of the source that this process records from."""

    def __init__(self) -> None:
        super().__init__(name="placement", daemon=True)
        self.moved = False

    def run(self) -> None:
        if any(shutil.which(program) is None for program in (ASK[0], ASK[2])):
            return
        first: str | None = None
        pause = threading.Event()
        while not self.moved:
            now = source_of(os.getpid())
            first = first or now
            self.moved = now is not None and now != first
            pause.wait(CHECK_S)


def source_of(pid: int) -> str | None:
    """The server's number of the source that a process records from, None if unknown."""
    try:
        answer = subprocess.run(
            ASK, capture_output=True, stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"}
        )
    except OSError:
        return None
    for stream in answer.stdout.decode("utf-8", "replace").split("Source Output #")[1:]:
        found = re.search(r"^\s*Source: (\d+)$", stream, re.MULTILINE)
        if found and f'application.process.id = "{pid}"' in stream:
            return found.group(1)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m daemon.sources.microphone.capture", description=__doc__
    )
    parser.add_argument("--list", action="store_true", help="print the inputs as JSON")
    parser.add_argument("--device", default="", help="name of the input; the default one if empty")
    parser.add_argument("--rate", type=int, default=0, help="Hz; the device's own if 0")
    parser.add_argument("--channels", type=int, default=0, help="the device's own if 0")
    parser.add_argument("--channel", type=int, default=0, help="one that is needed; from 1")
    parser.add_argument("--parent", type=int, default=0, help="process to die with")
    options = parser.parse_args()
    if options.parent:
        die_with_parent(options.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    with suppress(OSError):  # it needs little processor time, but needs it in time
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    # Output of libraries must not get into the stream.
    out = os.dup(1)
    os.dup2(2, 1)
    try:
        sounddevice = load_portaudio()
        if options.list:
            os.write(out, msgspec.json.encode(inputs(sounddevice)))
            return
        capture(sounddevice, options.device, options.rate, options.channels, options.channel, out)
    except CannotCapture as error:
        if options.list:
            print(error, file=sys.stderr)
        else:
            write(out, Failure(error.code, str(error)))
        sys.exit(1)
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()
