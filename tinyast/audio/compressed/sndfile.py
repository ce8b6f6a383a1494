"""Recordings that libsndfile decodes: FLAC, Ogg (Vorbis, Opus, FLAC) and MP3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Any

import numpy as np

from tinyast.arrays import Float
from tinyast.audio.channels import Channel, read_one_channel
from tinyast.audio.compressed.mp3 import cut_off, measure
from tinyast.audio.compressed.ogg import find_streams
from tinyast.audio.compressed.reading import Reader
from tinyast.audio.compressed.sequential import SKIPPED, Sequential
from tinyast.audio.content import Content
from tinyast.audio.samples import BLOCK, checked
from tinyast.audio.wav.header import MAX_CHUNKS, tag_bytes
from tinyast.audio.wav.metadata import NO_METADATA, Metadata
from tinyast.errors import AudioError

_UNKNOWN = 2**63 - 1  # frames, if a stream's header does not count them
_BAD_FILE = 7  # what libsndfile calls "not a regular file" also when a decoder finds no sound
# By which our count of MP3 may exceed its decoder's, which leaves out what encoders add.
_SLACK = 10 * 1_152
_BEHIND = 1 << 16  # bytes behind the last frame that may be tags, or be left in a decoder


class Sndfile:
    """A compressed recording. The descriptor of `file` stays the caller's.

    Raises AudioError `bad_header`, `not_audio` or `decode_error`, and OSError.
    """

    def __init__(self, file: Content, kind: str, channel: Channel) -> None:
        self.format, self._channel, self._content = kind, channel, file
        self.defect: AudioError | None = None
        self._sequential: Sequential | None = None
        self._sound = _Opened(Reader(file, cut_off(file) if kind == "mp3" else 0))
        held = {"opus": "ogg"}.get(kind, kind)
        if self._sound.format != held:  # behind an ID3 tag libsndfile takes any format
            raise AudioError(
                "not_audio", f"it begins as {kind.upper()} does but holds {self._sound.format}"
            )
        self.rate, self.channels = self._sound.rate, self._sound.channels
        self.frames = max(0, self._sound.frames)  # negative for some broken MP3
        {"flac": self._check_flac, "mp3": self._check_mp3, "ogg": self._check_ogg}[held]()

    @property
    def metadata(self) -> Metadata:
        return NO_METADATA

    def read(self, start: int, end: int) -> Float:
        decode = self._decode if self._sequential is None else self._sequential.read
        return read_one_channel(decode, start, end, self.channels, self._channel)

    def _decode(self, start: int, end: int) -> Float:
        frames = self._sound.read(start, end)
        if len(frames) < end - start:
            raise AudioError("decode_error", f"its data end or break before frame {end}")
        if end == self.frames and self.format == "flac" and self._sound.reader.left > _BEHIND:
            self.defect = _unread(self._sound.reader.left)
        return checked(frames)

    def _reaches(self, end: int) -> bool:
        try:
            return len(self._decode(max(0, end - 1), end)) > 0
        except AudioError:
            return False

    # -- what decoders do not tell -------------------------------------------------------------

    def _check_flac(self) -> None:
        if self.frames == _UNKNOWN or not _begins_at_zero(self._content):
            # FLAC written to a pipe, or one segment of it: libsndfile cannot seek in it.
            self._read_in_order(self._whole)
        elif not self._reaches(self.frames):
            promised = self.frames
            left = self._read_in_order(self._whole)
            if self.frames < promised and not left:
                self.defect = _cut_short(promised - self.frames)
        self.defect = self.defect if self._sequential else None

    def _check_mp3(self) -> None:
        found = measure(self._content)
        if found is not None and found.samples > self.frames + _SLACK:
            # Its length is a guess, or its first frame counts only some: hide that one.
            self._sound = _Opened(Reader(self._content, found.sound, endless=True))
        elif not self.frames or self._reaches(self.frames):
            return
        promised = self.frames if found is not None and found.counted else 0
        self.frames, self.defect = self._sound.count()
        if self.defect is None and promised > self.frames + _SLACK:
            self.defect = _cut_short(promised - self.frames)

    def _check_ogg(self) -> None:
        file, found = self._content, find_streams(self._content)
        if len(found.starts) > 1:
            places = list(zip(found.starts, (*found.starts[1:], file.size), strict=True))
            alike = list(takewhile(self._is_alike, places))
            self._read_in_order(lambda: (Reader(file, start, end) for start, end in alike))
            if self.defect is None and len(alike) < len(places):
                self.defect = _unread(file.size - alike[-1][1])
        if self.defect is None and found.missing:
            text = f"its last page promises {found.missing} bytes more than there are"
            self.defect = AudioError("cut_short", text)

    def _is_alike(self, place: tuple[int, int]) -> bool:
        """Whether the stream between these bytes can follow the first."""
        try:
            stream = _Opened(Reader(self._content, *place))
        except AudioError:
            return False
        return (stream.rate, stream.channels) == (self.rate, self.channels)

    def _whole(self) -> Iterator[Reader]:
        """The file as the only stream."""
        yield Reader(self._content)

    def _read_in_order(self, begin: Callable[[], Iterator[Reader]]) -> int:
        """Decode the streams that `begin` gives, one after the other; the bytes left unread."""
        streams: list[_Stream] = []

        def start() -> _Stream:
            streams.append(_Stream(begin()))
            return streams[-1]

        self._sequential = Sequential(start, self.channels)
        self.frames, self.defect = self._sequential.count()
        return streams[-1].left


def _cut_short(frames: int) -> AudioError:
    return AudioError("cut_short", f"its header promises {frames} frames more than there are")


def _unread(count: int) -> AudioError:
    return AudioError(
        "unread_data",
        f"{count} bytes follow its sound and were not read: recordings may have been joined",
    )


class _Opened:
    """One stream as libsndfile decodes it. Raises AudioError, and OSError where a read failed."""

    def __init__(self, reader: Reader, seekable: bool = True) -> None:
        import soundfile  # only if a compressed format is allowed and met: 30 ms and 10 MB

        self.reader = reader
        try:
            self._file: Any = soundfile.SoundFile(reader)
        except soundfile.LibsndfileError as error:
            reader.check()
            raise AudioError("bad_header", _words(error)) from error
        if not seekable:
            # Else it seeks after each read, which fails if frames do not count from 0.
            self._file.seekable = lambda: False
        self.format: str = self._file.format.lower()
        self.rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.frames: int = self._file.frames

    def read(self, start: int, end: int) -> Float:
        """Frames `start` to `end`, (n, channels); fewer if they end before."""
        error = _error()
        try:
            if self._file.tell() != start:
                self._file.seek(start)
        except error as problem:
            self.reader.check()
            raise AudioError("decode_error", _words(problem)) from problem
        return self.take(end - start)

    def take(self, frames: int) -> Float:
        """The next frames, (n, channels)."""
        try:
            # Pass our own array: to allocate one, soundfile computes the remaining frames, and
            # gets a negative number for a broken file.
            empty = np.empty((frames, self.channels), dtype=np.float32)
            taken: Float = self._file.read(out=empty)
        except _error() as problem:
            self.reader.check()
            raise AudioError("decode_error", _words(problem)) from problem
        self.reader.check()
        return taken

    def count(self) -> tuple[int, AudioError | None]:
        """The number of frames, by decoding them all, and the error that they end in, if any."""
        frames = 0
        try:
            self.read(0, 0)
            while got := len(self.take(min(SKIPPED, max(1, BLOCK // self.channels)))):
                frames += got
        except AudioError as error:
            if not frames:
                raise
            return frames, error
        return frames, None

    def close(self) -> None:
        self._file.close()


class _Stream:
    """A `FrameStream` of one or more streams of the same kind, one after the other."""

    def __init__(self, readers: Iterator[Reader]) -> None:
        self._readers = readers
        self._sound = _Opened(next(readers), seekable=False)

    @property
    def left(self) -> int:
        """Bytes of the stream in hand that were not read."""
        return self._sound.reader.left

    def take(self, frames: int) -> Float:
        parts, missing = [self._sound.take(frames)], frames
        while (missing := missing - len(parts[-1])) and self._next():
            parts.append(self._sound.take(missing))
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def close(self) -> None:
        self._sound.close()

    def _next(self) -> bool:
        """Open the next stream; whether there is one."""
        reader = next(self._readers, None)
        if reader is None:
            return False
        self.close()
        self._sound = _Opened(reader, seekable=False)
        return True


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
