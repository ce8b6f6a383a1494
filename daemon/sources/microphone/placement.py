"""Which microphone a sound server gives a stream, as PulseAudio and PipeWire may change it.

When a microphone goes away they move who listened to another one, and PortAudio is told nothing.
Their own tool tells, where it is installed (Debian: pulseaudio-utils).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading

CHECK_S = 2.0
# Ends by itself where the server hangs, even if whoever asked has been killed meanwhile.
ASK = ("timeout", "2", "pactl", "list", "source-outputs")


class Placement(threading.Thread):
    """Watches which source this process records from."""

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
    """The server's number of the source that a process records from, None if nobody knows."""
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
