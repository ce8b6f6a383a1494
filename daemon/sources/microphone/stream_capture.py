"""The capture process of a network stream: ffmpeg opens the stream, this process supervises it.

Run as `python -m daemon.sources.microphone.stream_capture`, with a `StreamRequest` on standard
input. It writes frames (`daemon.sources.microphone.framing`) to its standard output as the process
of a microphone does, and dies with its parent; ffmpeg dies with it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

import msgspec

from daemon.host.clock import clock
from daemon.host.parent import die_with_parent
from daemon.settings.urls import without_secrets
from daemon.sources.microphone.ffmpeg_input import FFmpegInput, StreamFailed
from daemon.sources.microphone.framing import Block, Failure, Hello, StreamRequest, write


def capture(request: StreamRequest, out: int) -> None:
    """Write a stream's sound to descriptor `out` until the stream or the pipe ends."""
    with FFmpegInput(request) as stream:
        rate, channels = stream.open()
        if request.channel > channels:
            raise StreamFailed(
                "no_channel",
                f"the stream has {channels} channels, so there is no channel {request.channel} "
                "(setting: channel)",
            )
        write(out, Hello(without_secrets(request.url), rate, channels))
        while True:
            samples = stream.read()
            write(out, Block(clock(), False, samples))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m daemon.sources.microphone.stream_capture", description=__doc__
    )
    parser.add_argument("--parent", type=int, default=0, help="process to die with")
    options = parser.parse_args()
    if options.parent:
        die_with_parent(options.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=StreamRequest)
    try:
        capture(request, 1)
    except StreamFailed as error:
        write(1, Failure(error.code, str(error)))
        sys.exit(1)
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()
