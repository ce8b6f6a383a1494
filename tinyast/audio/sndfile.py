"""Recordings that libsndfile decodes: FLAC, Ogg (Vorbis, Opus, FLAC) and MP3."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from tinyast.arrays import Float
from tinyast.audio.channels import Channel, read_one_channel
from tinyast.audio.content import Content
from tinyast.audio.samples import BLOCK, checked
from tinyast.audio.sequential import Sequential
from tinyast.audio.wav.header import MAX_CHUNKS, tag_bytes
from tinyast.audio.wav.metadata import NO_METADATA, Metadata
from tinyast.errors import AudioError

_UNKNOWN = 2**63 - 1  # frames, if a stream's header does not count them
_BAD_FILE = 7  # what libsndfile calls "not a regular file" also when a decoder finds no sound


class Sndfile:
    """A compressed recording. The descriptor of `file` stays the caller's.

    Raises AudioError `bad_header`, `not_audio` or `decode_error`.
    """

    defect: AudioError | None = None

    def __init__(self, file: Content, kind: str, channel: Channel) -> None:
        self.format, self._channel = kind, channel
        self._file = _opened(file.fd)
        held = {"opus": "ogg"}.get(kind, kind)
        if self._file.format.lower() != held:  # behind an ID3 tag libsndfile takes any format
            raise AudioError(
                "not_audio", f"it begins as {kind.upper()} does but holds {self._file.format}"
            )
        self.rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.frames: int = max(0, self._file.frames)  # negative for some broken MP3
        self._sequential: Sequential | None = None
        if self.frames == _UNKNOWN or (kind == "flac" and not _begins_at_zero(file)):
            # FLAC written to a pipe, or one segment of it: libsndfile cannot seek in it.
            self._sequential = Sequential(lambda: _Stream(file.fd), self.channels)
            self.frames, self.defect = self._sequential.count()
        elif kind == "mp3" and self.frames and not self._reaches(self.frames):
            self.frames = _count(self._file)  # without a Xing header the length is a guess

    @property
    def metadata(self) -> Metadata:
        return NO_METADATA

    def read(self, start: int, end: int) -> Float:
        decode = self._decode if self._sequential is None else self._sequential.read
        return read_one_channel(decode, start, end, self.channels, self._channel)

    def _decode(self, start: int, end: int) -> Float:
        error = _error()
        try:
            if self._file.tell() != start:
                self._file.seek(start)
            frames = _take(self._file, end - start)
        except error as problem:
            raise AudioError("decode_error", _words(problem)) from problem
        if len(frames) < end - start:
            raise AudioError("decode_error", f"its data end or break before frame {end}")
        return checked(frames)

    def _reaches(self, end: int) -> bool:
        try:
            return len(self._decode(max(0, end - 1), end)) > 0
        except AudioError:
            return False


class _Stream:
    """A `FrameStream` of a descriptor, read from its beginning."""

    def __init__(self, fd: int) -> None:
        self._file = _opened(fd, seekable=False)

    def take(self, frames: int) -> Float:
        try:
            return _take(self._file, frames)
        except _error() as problem:
            raise AudioError("decode_error", _words(problem)) from problem

    def close(self) -> None:
        self._file.close()


def _opened(fd: int, seekable: bool = True) -> Any:
    import soundfile  # only if a compressed format is allowed and met: 30 ms and 10 MB

    try:
        os.lseek(fd, 0, os.SEEK_SET)
        opened: Any = soundfile.SoundFile(fd, closefd=False)
    except soundfile.LibsndfileError as error:
        raise AudioError("bad_header", _words(error)) from error
    if not seekable:  # else it seeks after each read, which fails if frames do not count from 0
        opened.seekable = lambda: False
    return opened


def _begins_at_zero(file: Content) -> bool:
    """Whether the first frame of a FLAC file has the number 0 (RFC 9639, 8.1 and 9.1).

    ffmpeg's segments count on from one to the next, and give the length of them all.
    """
    at = tag_bytes(file) + 4
    for _ in range(MAX_CHUNKS):
        block = file.read(4, at)
        at += 4 + int.from_bytes(block[1:], "big")
        if len(block) < 4 or block[0] & 0x80:  # the last one before the frames
            break
    head = file.read(5, at)
    return len(head) == 5 and head[4] == 0


def _error() -> type[Exception]:
    import soundfile

    error: type[Exception] = soundfile.LibsndfileError
    return error


def _words(error: Any) -> str:
    if error.code == _BAD_FILE:
        return "it is too short or too damaged for its decoder to find sound in it"
    said = str(error.error_string).removeprefix("Error : ").rstrip(".")
    return f"its decoder cannot read it ({said}); copy or export the recording again"


def _take(file: Any, frames: int) -> Float:
    # Pass our own array: to allocate one, soundfile computes the remaining frames, and gets a
    # negative number for a broken file.
    taken: Float = file.read(out=np.empty((frames, file.channels), dtype=np.float32))
    return taken


def _count(file: Any) -> int:
    frames, step = 0, max(1, BLOCK // file.channels)
    try:
        file.seek(0)
        while got := len(_take(file, step)):
            frames += got
    except _error() as problem:
        raise AudioError("decode_error", _words(problem)) from problem
    return frames
