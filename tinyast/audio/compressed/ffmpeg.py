"""Recordings that an installed ffmpeg decodes: MPEG-4 audio (M4A) and AAC.

ffmpeg runs as a child process: without a shell, with a named demuxer, and with permission to open
only the descriptor of one file. Its output is read a piece at a time, so its memory and ours stay
small, and it is killed if it stops writing for a while.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Collection
from contextlib import suppress

from tinyast.arrays import Float
from tinyast.audio.channels import Channel, read_one_channel
from tinyast.audio.compressed.sequential import Sequential
from tinyast.audio.samples import check_encoding, decode
from tinyast.audio.wav.header import WavHeader, read_header
from tinyast.audio.wav.metadata import NO_METADATA, Metadata
from tinyast.errors import AudioError

DEMUXERS = {"m4a": "mov", "aac": "aac"}  # by format
TIMEOUT_S = 30.0  # without a byte of output
_MAX_MEMORY = 1 << 30  # bytes of address space
_HEADER = 4_096  # bytes of output that contain the header of a WAV stream
_WORDS = 300  # characters of its errors that are passed on
_SILENT = "matches no streams"  # what it says of a file without sound
_PLACE = re.compile(r"file:/dev/fd/\d+: ")  # how it names the file


def find() -> str | None:
    """The path of ffmpeg, if one is installed."""
    return shutil.which("ffmpeg")


def missing_for(formats: Collection[str]) -> str:
    """Those of `formats` that need ffmpeg, in words, if it is not installed; else an empty text."""
    needing = sorted(set(formats) & set(DEMUXERS))
    return "" if not needing or find() else " and ".join(needing)


class FFmpeg:
    """A recording that ffmpeg decodes. The descriptor `fd` stays the caller's.

    Raises AudioError `no_decoder` without an ffmpeg, `decode_error` if it cannot decode the file.
    """

    def __init__(self, fd: int, kind: str, channel: Channel) -> None:
        self.format, self._fd, self._channel = kind, fd, channel
        try:
            first = self._begin()
            self.rate, self.channels = first.header.rate, first.header.channels
            first.close()
            self._sequential = Sequential(self._begin, self.channels)
            self.frames, self.defect = self._sequential.count()
        except AudioError as error:
            _read_all(fd)
            if (cut := _cut_short(fd, kind)) is not None:
                raise AudioError(error.code, f"{error}; {cut}") from error
            raise
        if self.defect is not None:
            _read_all(fd)
        self.defect = self.defect or _cut_short(fd, kind)

    @property
    def metadata(self) -> Metadata:
        return NO_METADATA

    def read(self, start: int, end: int) -> Float:
        decode = self._sequential.read
        return read_one_channel(decode, start, end, self.channels, self._channel)

    def close(self) -> None:
        self._sequential.close()

    def __del__(self) -> None:
        if hasattr(self, "_sequential"):
            self.close()

    def _begin(self) -> _Stream:
        return _Stream(self._fd, self.format)


class _Stream:
    """A `FrameStream` from one run of ffmpeg, which writes 32-bit floats as WAV to a pipe."""

    def __init__(self, fd: int, kind: str) -> None:
        program = find()
        if program is None:
            raise AudioError(
                "no_decoder", f"{kind} is read by ffmpeg, which is not installed; install it"
            )
        source = ["-protocol_whitelist", "file", "-f", DEMUXERS[kind], "-i", f"file:/dev/fd/{fd}"]
        sound = ["-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "-1"]
        out = ["-bitexact", "-c:a", "pcm_f32le", "-f", "wav", "pipe:1"]
        self._process = subprocess.Popen(
            [program, "-nostdin", "-v", "error", "-threads", "1", *source, *sound, *out],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(fd,),
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C"},
        )
        _limit(self._process.pid)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._out, self._errors = self._process.stdout.fileno(), self._process.stderr.fileno()
        self._said, self._left = b"", b""
        try:
            self.header = self._read_header()
            check_encoding(self.header)
        except AudioError:
            self.close()
            raise

    def take(self, frames: int) -> Float:
        align = self.header.block_align
        data = self._read(frames * align)
        if not data and self._process.wait(TIMEOUT_S):
            raise AudioError("decode_error", f"ffmpeg says: {self._words()}")
        whole = len(data) // align * align
        taken = decode(memoryview(data)[:whole], self.header)
        return taken.reshape(-1, self.header.channels)

    def close(self) -> None:
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()

    def _read_header(self) -> WavHeader:
        head = _Head(self._read(_HEADER))
        header = read_header(head) if head.size else None
        if header is None:
            words = self._words()
            if _SILENT in words:
                raise AudioError("not_audio", "it holds no sound, perhaps pictures alone")
            raise AudioError("decode_error", f"ffmpeg says: {words}")
        self._left = head.content[header.data_start :]
        return header

    def _read(self, wanted: int) -> bytes:
        """The next bytes of its output; fewer than `wanted` at its end."""
        parts, length = [self._left[:wanted]], min(wanted, len(self._left))
        self._left = self._left[wanted:]
        deadline = time.monotonic() + TIMEOUT_S
        pipes = [self._out, self._errors]
        while length < wanted and self._out in pipes:
            ready = _wait(pipes, deadline - time.monotonic())
            if not ready:
                raise AudioError("decode_error", f"ffmpeg gave nothing for {TIMEOUT_S:g} s")
            for pipe in ready:
                data = os.read(pipe, min(1 << 16, wanted - length) if pipe == self._out else 4_096)
                if not data:
                    pipes.remove(pipe)
                elif pipe == self._out:
                    parts.append(data)
                    length += len(data)
                    deadline = time.monotonic() + TIMEOUT_S
                else:
                    self._said = (self._said + data)[:_WORDS]
        return b"".join(parts)

    def _words(self) -> str:
        while len(self._said) < _WORDS and _wait([self._errors], 1.0):
            data = os.read(self._errors, 4_096)
            if not data:
                break
            self._said += data
        lines = self._said.decode("utf-8", "replace").strip().splitlines()
        silent = [line for line in lines if _SILENT in line]
        line = [*lines, *silent][-1] if lines else "nothing"
        return _PLACE.sub("", line)[:_WORDS]


def _read_all(fd: int) -> None:
    """Raise the OSError that kept ffmpeg from reading the file, which it does not pass on."""
    at = 0
    while data := os.pread(fd, 1 << 20, at):
        at += len(data)


def _cut_short(fd: int, kind: str) -> AudioError | None:
    """The error of an MPEG-4 file whose boxes promise more than it has (ISO 14496-12, 4.2)."""
    missing = _missing(fd) if kind == "m4a" else 0
    if not missing:
        return None
    return AudioError("cut_short", f"its last part promises {missing} bytes more than there are")


def _missing(fd: int) -> int:
    at, size = 0, os.fstat(fd).st_size
    while at < size and len(head := os.pread(fd, 16, at)) >= 8:
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if length < 8:  # 0: to the end of the file
            return 0
        at += length
    return max(0, at - size)


class _Head:
    """The first bytes of a stream, by their place."""

    def __init__(self, content: bytes) -> None:
        self.content, self.size = content, len(content)

    def read(self, length: int, offset: int) -> bytes:
        return self.content[offset : offset + length]


def _wait(pipes: list[int], timeout: float) -> list[int]:
    """Those of `pipes` that have something to read, also if descriptors are over 1,024."""
    poll = select.poll()
    for pipe in pipes:
        poll.register(pipe, select.POLLIN)
    return [pipe for pipe, _ in poll.poll(max(0, timeout) * 1_000)]


def _limit(pid: int) -> None:
    """Limit the memory of a child, if the system can (Linux)."""
    try:
        import resource

        resource.prlimit(pid, resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))
    except (ImportError, AttributeError, OSError):  # it has ended already, or there is no such call
        return
