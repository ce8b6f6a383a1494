"""Run the capture process: start it, read its stream with a time limit, kill it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType

import msgspec

from daemon.settings.schema import Microphone, Stream
from daemon.settings.urls import RAW, scheme
from daemon.sources.microphone.framing import Block, Hello, Item, Parser, StreamRequest
from tinyast.audio.channels import LiveChannel
from tinyast.audio.samples import check_rate
from tinyast.errors import AudioError, CodedError

# -P keeps the working folder off the module path: it may hold a stranger's numpy.py.
COMMAND = (sys.executable, "-P", "-m", "daemon.sources.microphone.capture")
STREAM_COMMAND = (*COMMAND[:-1], "daemon.sources.microphone.stream_capture")
OPEN_S = 10.0  # for a stream to open; the first block can be 2 s late
STALL_S = 5.0  # without a block until a stream counts as hung
# The process of a network stream gives up before this, and says more.
STREAM_OPEN_S, STREAM_STALL_S = 30.0, 15.0
KILLED_S = 5.0  # for a killed process to end; one that waits for a driver may not
PIPE_BYTES = 1 << 16


class CaptureFailed(CodedError):
    """There is no sound; why, in words and by a code."""


def _channel_number(settings: Microphone | Stream) -> int:
    return settings.channel if isinstance(settings.channel, int) else 0


def _of_device(settings: Microphone, device: str) -> list[str]:
    options = ["--device", device, "--rate", str(settings.rate)]
    options += ["--channels", str(settings.channels), "--channel", str(_channel_number(settings))]
    return [*COMMAND, *options]


def _of_stream(settings: Stream) -> tuple[list[str], bytes]:
    """Its command line, and what to write to its standard input."""
    request = StreamRequest(
        settings.url,
        settings.format if scheme(settings.url) in RAW else None,
        settings.rate,
        settings.channels,
        _channel_number(settings),
    )
    return list(STREAM_COMMAND), msgspec.json.encode(request)


class CaptureProcess:
    """A child that captures from one device, or from a network stream.

    Use it as a context manager: leaving kills the child. Raises CaptureFailed if it cannot start,
    for example because no process or descriptor is free.
    """

    def __init__(self, settings: Microphone | Stream, device: str) -> None:
        self._channel = settings.channel
        self._channels = 1
        self._select: LiveChannel | None = None  # once the number of channels is known
        self.open_s, self._stall_s = OPEN_S, STALL_S
        if isinstance(settings, Stream):
            self.open_s, self._stall_s = STREAM_OPEN_S, STREAM_STALL_S
            command, told = _of_stream(settings)
        else:
            command, told = _of_device(settings, device), b""
        try:
            self._child = subprocess.Popen(
                [*command, "--parent", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        except OSError as error:
            raise CaptureFailed(
                "cannot_start", f"the capture process cannot be started: {error.strerror}"
            ) from error
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with suppress(BrokenPipeError):  # it has ended, which `items` notices
            self._child.stdin.write(told)
            self._child.stdin.close()
        self._fd = self._child.stdout.fileno()

    def __enter__(self) -> CaptureProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.kill()  # a hung sound server would also hang a polite request
        assert self._child.stdout is not None
        self._child.stdout.close()
        try:
            self._child.wait(KILLED_S)
        except subprocess.TimeoutExpired:
            return

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def ended(self) -> bool:
        """Whether the child has ended; after a kill, False while its driver hangs."""
        return self._child.poll() is not None

    def items(self, wake: int | None = None) -> Iterator[list[Item]]:
        """Yield the child's messages, of one channel, until `wake` becomes readable.

        Each list is what one read brought. Raises CaptureFailed if the child ends or no data arrive
        in time.
        """
        parser = Parser()
        poller = select.poll()  # unlike select(2), it takes descriptors above 1,023
        poller.register(self._fd, select.POLLIN)
        if wake is not None:
            poller.register(wake, select.POLLIN)
        patience = self.open_s
        while ready := dict(poller.poll(1000 * patience)):
            if wake in ready:
                return
            data = os.read(self._fd, PIPE_BYTES)
            if not data:
                raise CaptureFailed("capture_ended", f"the capture process {self._how_it_ended()}")
            patience = self._stall_s
            yield [self._one_channel(item) for item in parser.feed(data)]
        raise CaptureFailed("stalled", "no sound came from the device; it or its server hangs")

    def _one_channel(self, item: Item) -> Item:
        """Blocks as the setting `channel` says. Raises CaptureFailed."""
        if isinstance(item, Hello):
            try:
                check_rate(item.rate)
                self._select = LiveChannel(self._channel, item.channels, item.rate)
            except AudioError as error:
                raise CaptureFailed(error.code, str(error)) from error
            self._channels = item.channels
        elif isinstance(item, Block) and self._select is not None:
            frames = item.samples.reshape(-1, self._channels)
            return Block(item.at, item.overflow, self._select(frames))
        return item

    def _how_it_ended(self) -> str:
        try:
            code = self._child.wait(1)
        except subprocess.TimeoutExpired:
            return "closed its output"
        # PortAudio aborts if it cannot read ALSA's configuration, for example.
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
