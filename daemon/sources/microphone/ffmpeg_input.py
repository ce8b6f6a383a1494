"""ffmpeg as a child process that opens a network stream and writes its samples to a pipe.

A command line is public on most systems, so the URL of a stream that may hold a password is not on
it: ffmpeg reads a playlist with this one entry (its concat demuxer) from standard input. The
environment holds no secret either.
"""

from __future__ import annotations

import os
import resource
import select
import shutil
import struct
import subprocess
import time
from contextlib import suppress
from functools import partial
from types import TracebackType
from urllib.parse import urlsplit

import numpy as np

from daemon.host.parent import die_with_parent
from daemon.settings.urls import scheme, scrubbed
from daemon.sources.microphone.framing import Samples, StreamRequest

PROTOCOLS = "pipe,rtsp,rtsps,rtp,srtp,http,https,httpproxy,tls,tcp,udp,hls,crypto,data"  # no files
# AU, big endian: magic, bytes before the samples, their bytes, encoding, Hz, channels.
HEADER = struct.Struct(">4s5I")
MOST_HEADER = 4096  # bytes; ffmpeg writes 32
READ_BYTES = 1 << 16
WORDS_BYTES = 4096  # of ffmpeg's newest words to keep
OPEN_S = 15.0  # for the first samples; some cameras wait for a key frame
STALL_S = 10.0  # without samples until the server counts as hung
NO_SOUND = ("Input/output error", "Invalid data found when processing input")  # ffmpeg's words
ENDED_S = 5.0  # for a killed process to end
# A server can name pictures and playlists without end, which ffmpeg would keep. It needs 60 MB.
MOST_MEMORY = 512 << 20


class StreamFailed(Exception):
    """A stream gives no sound; the text gives the reason, `code` a word for programs."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def command(ffmpeg: str, request: StreamRequest) -> list[str]:
    """ffmpeg's command line. It writes AU: a header, then 32-bit floats."""
    line = [ffmpeg, "-nostdin", "-hide_banner", "-loglevel", "error"]
    line += ["-threads", "1", "-filter_threads", "1"]  # else a stack for each core
    line += ["-protocol_whitelist", PROTOCOLS]
    if scheme(request.url) in ("http", "https", "tcp"):
        # A server may send faster than the sound plays: a buffer at first, a segment at a time.
        line += ["-re"]
    if request.format is not None:  # such a URL has no credentials
        line += ["-f", request.format, "-ar", str(request.rate), "-ac", str(request.channels)]
        line += ["-i", request.url]
    else:
        line += ["-f", "concat", "-safe", "0", "-i", "pipe:0"]
    line += ["-map", "0:a:0", "-vn", "-sn", "-dn", "-f", "au", "-c:a", "pcm_f32be"]
    return [*line, "-flush_packets", "1", "pipe:1"]


def playlist(request: StreamRequest) -> bytes:
    """The playlist for standard input; empty for raw samples."""
    if request.format is not None:
        return b""
    quoted = request.url.replace("'", r"'\''")
    lines = ["ffconcat version 1.0", f"file '{quoted}'"]
    if scheme(request.url).startswith("rtsp"):
        lines += ["option rtsp_transport tcp", "option allowed_media_types audio"]
    return "".join(f"{line}\n" for line in lines).encode()


def _explained(words: str, url: str) -> str:
    """What ffmpeg's words leave out about a server that answers with something else than sound."""
    if not scheme(url).startswith("http"):
        return ""
    if urlsplit(url).path.lower().endswith((".m3u", ".pls")):
        return "; this is a playlist: open it as text, and use the address of the stream in it"
    return "; the server answers with no sound that ffmpeg knows" if words in NO_SOUND else ""


def _before(parent: int) -> None:
    """In the child, before it becomes ffmpeg."""
    die_with_parent(parent)
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if hard == resource.RLIM_INFINITY or hard > MOST_MEMORY:
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, hard))


class FFmpegInput:
    """One run of ffmpeg. Use it as a context manager: leaving kills it.

    Raises StreamFailed `no_ffmpeg` or `cannot_start`.
    """

    def __init__(self, request: StreamRequest) -> None:
        self._request = request
        self._words = b""
        self._rest = b""  # bytes of an incomplete frame
        self._frame = 4  # bytes
        self._talks = True  # whether standard error is open
        ffmpeg = shutil.which("ffmpeg")
        if ffmpeg is None:
            raise StreamFailed(
                "no_ffmpeg", "ffmpeg is missing; install it (Debian: apt install ffmpeg)"
            )
        pipe = subprocess.PIPE
        try:
            self._child = subprocess.Popen(
                command(ffmpeg, request),
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                preexec_fn=partial(_before, os.getpid()),  # this process has one thread
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise StreamFailed("cannot_start", f"ffmpeg cannot be started: {error}") from error
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        self._out, self._err = self._child.stdout.fileno(), self._child.stderr.fileno()
        try:
            self._child.stdin.write(playlist(request))
            self._child.stdin.close()
        except BrokenPipeError:
            pass  # it has ended, and `read` says why

    def __enter__(self) -> FFmpegInput:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.kill()
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        self._child.stdout.close()
        self._child.stderr.close()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(ENDED_S)

    def open(self) -> tuple[int, int]:
        """Wait for the stream; its rate in Hz and its channels. Raises StreamFailed."""
        data = b""
        wanted = HEADER.size
        until = time.monotonic() + OPEN_S
        while len(data) < wanted:
            data += self._read(until, opening=True)
            if len(data) >= HEADER.size:
                wanted = min(HEADER.unpack_from(data)[1], MOST_HEADER)
        _, _, _, _, rate, channels = HEADER.unpack_from(data)
        self._rest, self._frame = data[wanted:], 4 * channels
        return rate, channels

    def read(self) -> Samples:
        """The next samples, of all channels interleaved. Raises StreamFailed."""
        until = time.monotonic() + STALL_S
        while len(self._rest) < self._frame:
            self._rest += self._read(until, opening=False)
        whole = len(self._rest) - len(self._rest) % self._frame
        data, self._rest = self._rest[:whole], self._rest[whole:]
        return np.frombuffer(data, ">f4").astype(np.float32)

    def _read(self, until: float, opening: bool) -> bytes:
        """Bytes of ffmpeg's output; keeps what it says meanwhile."""
        while (left := until - time.monotonic()) > 0:
            poller = select.poll()
            poller.register(self._out, select.POLLIN)
            if self._talks:
                poller.register(self._err, select.POLLIN)
            ready = dict(poller.poll(1000 * left))
            if self._err in ready:
                self._listen()
            if self._out in ready:
                if data := os.read(self._out, READ_BYTES):
                    return data
                raise self._ended(opening)
        waited = OPEN_S if opening else STALL_S
        raise StreamFailed("stalled", f"no sound came for {waited:g} s; the server or ffmpeg hangs")

    def _listen(self) -> None:
        said = os.read(self._err, READ_BYTES)
        self._talks = bool(said)
        self._words = (self._words + said)[-WORDS_BYTES:]

    def _ended(self, opening: bool) -> StreamFailed:
        try:
            code = self._child.wait(ENDED_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            code = self._child.wait()
        while self._talks:
            self._listen()
        words = self._last_words()
        if b"matches no streams" in self._words:  # a line of advice may follow
            explained = _explained("", self._request.url)
            return StreamFailed("no_audio", f"the stream holds no sound{explained}")
        if opening:
            words = words or f"ffmpeg ended with {code}"
            return StreamFailed("cannot_open", words + _explained(words, self._request.url))
        return StreamFailed("stopped", f"the stream ended{f': {words}' if words else ''}")

    def _last_words(self) -> str:
        """ffmpeg's last line, without its own addresses and without secrets of the URL."""
        lines = self._words.decode("utf-8", "replace").strip().splitlines()
        if not lines:
            return ""
        line = lines[-1].removeprefix("pipe:0: ").rpartition("] ")[2]
        return scrubbed(line, self._request.url)
