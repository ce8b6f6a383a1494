"""Read sound from an open file, in pieces, without trusting its header.

WAV with PCM or float samples is decoded here from the bytes that exist, so a header without a
length (a stream) or with too large a length (a cut file) needs no repair. libsndfile reads FLAC,
Ogg and MP3 if the caller allows them. The content decides about the format, never the name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from tinyast.arrays import Float
from tinyast.audio.content import Content
from tinyast.audio.wav_header import FLOAT, PCM, Bext, WavHeader, is_wav, read_header
from tinyast.errors import AudioError

FORMATS = ("wav", "flac", "ogg", "mp3")
DEFAULT_FORMATS = ("wav",)
MIN_RATE, MAX_RATE = 4_000, 384_000  # Hz
MAX_CHANNELS = 64
MAX_AMPLITUDE = 1e6  # 120 dB over full scale; more is a mistake
BLOCK = 1 << 20  # samples of all channels decoded at once: bounds the memory


class Recording(Protocol):
    """Sound in an open file. `frames` counts readable frames, not the header's promise."""

    @property
    def format(self) -> str: ...
    @property
    def rate(self) -> int: ...  # Hz
    @property
    def channels(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def bext(self) -> Bext | None: ...

    def read(self, start: int, end: int) -> Float:
        """Frames `start` to `end` as mono, (end - start,) float32, full scale at 1.

        Raises AudioError `decode_error` if fewer can be decoded, `not_finite` or
        `out_of_range` for samples that no recorder writes.
        """
        ...


def sniff(file: Content) -> str | None:
    """The format that a file's first bytes indicate, allowed or not; None if unknown."""
    head = file.read(16, 0)
    if is_wav(head):
        return "wav"
    for magic, name in ((b"fLaC", "flac"), (b"OggS", "ogg"), (b"ID3", "mp3"), (b"FORM", "aiff")):
        if head.startswith(magic):
            return name
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 in (0xE2, 0xE4, 0xE6):
        return "mp3"
    return None


def open_recording(file: Content, formats: Collection[str] = DEFAULT_FORMATS) -> Recording:
    """Open the sound in `file`; the caller closes its descriptor.

    Raises AudioError with code `not_audio`, `format_not_allowed`, `bad_header`,
    `unsupported_encoding`, `bad_rate`, `bad_channels` or `too_short`.
    """
    kind = sniff(file)
    if kind is None:
        raise AudioError(
            "not_audio",
            "it is empty" if file.size == 0 else "its content is not audio of a known format",
        )
    if kind not in formats:
        raise AudioError(
            "format_not_allowed",
            f"its content is {kind.upper()}, and only {', '.join(sorted(formats))} is allowed "
            "(setting: formats)",
        )
    recording = _open_wav(file) if kind == "wav" else _Sndfile(file.fd, kind)
    check_rate(recording.rate)
    if not 1 <= recording.channels <= MAX_CHANNELS:
        raise AudioError(
            "bad_channels",
            f"its header says {recording.channels} channels; from 1 to {MAX_CHANNELS} is accepted",
        )
    if recording.frames < 2:
        raise AudioError("too_short", f"it holds {recording.frames} frames of sound")
    return recording


def check_rate(rate: int) -> None:
    """Raise AudioError for an implausible rate, which a broken header claims."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(
            "bad_rate", f"its rate is {rate} Hz; from {MIN_RATE} to {MAX_RATE} Hz is accepted"
        )


def checked(samples: Float) -> Float:
    """Return `samples`, or raise AudioError if they are not finite or far out of range.

    Call it before mixing channels, because their faults could cancel each other.
    """
    if samples.size == 0:
        return samples
    with np.errstate(invalid="ignore"):  # a signalling NaN is refused below
        peak = float(np.maximum(samples.max(), -samples.min()))  # NaN if any sample is
    if not np.isfinite(peak):
        raise AudioError("not_finite", "it holds samples that are not numbers, or infinite")
    if peak > MAX_AMPLITUDE:
        raise AudioError("out_of_range", f"it holds a sample of {peak:.3g}; full scale is 1")
    return samples


def downmix(frames: Float) -> Float:
    """(n, channels) to the mean of the channels, (n,)."""
    if frames.shape[1] == 1:
        return frames[:, 0]
    mean: Float = frames.mean(axis=1, dtype=np.float32)
    return mean


def _read_blocks(decode: Callable[[int, int], Float], start: int, end: int, width: int) -> Float:
    """Frames `start` to `end` of `width` channels as mono; `decode` gives (n, width), checked."""
    step = max(1, BLOCK // width)
    if end - start <= step:
        return downmix(decode(start, end))
    mono = np.empty(end - start, dtype=np.float32)
    for first in range(start, end, step):
        last = min(first + step, end)
        mono[first - start : last - start] = downmix(decode(first, last))
    return mono


def read_file(path: Path | str, formats: Collection[str] = FORMATS) -> tuple[Float, int]:
    """A whole file as mono samples, (n,) float32, and its rate in Hz.

    Raises AudioError, OSError.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        recording = open_recording(Content(fd, os.fstat(fd).st_size), formats)
        return recording.read(0, recording.frames), recording.rate
    finally:
        os.close(fd)


# -- WAV -----------------------------------------------------------------------------------------

_INTEGER = {8: ("u1", 128.0), 16: ("i2", 32768.0), 32: ("i4", 2147483648.0)}


@dataclass(frozen=True)
class _Wav:
    file: Content
    header: WavHeader
    frames: int
    format: str = "wav"

    @property
    def rate(self) -> int:
        return self.header.rate

    @property
    def channels(self) -> int:
        return self.header.channels

    @property
    def bext(self) -> Bext | None:
        return self.header.bext

    def read(self, start: int, end: int) -> Float:
        return _read_blocks(self._decode, start, end, self.channels)

    def _decode(self, start: int, end: int) -> Float:
        align = self.header.block_align
        wanted = (end - start) * align
        data = self.file.view(wanted, self.header.data_start + start * align)
        if len(data) < wanted:
            raise AudioError("decode_error", f"it ends before frame {end}")
        return _decode(data, self.header).reshape(-1, self.header.channels)


def _decode(data: memoryview, header: WavHeader) -> Float:
    order = ">" if header.big_endian else "<"
    if header.encoding == FLOAT:
        # Values beyond float32 become infinite or NaN, and are refused.
        with np.errstate(over="ignore", invalid="ignore"):
            return checked(np.frombuffer(data, f"{order}f{header.bits // 8}").astype(np.float32))
    if header.bits == 24:
        return _decode_24(data, header.big_endian)
    kind, scale = _INTEGER[header.bits]
    whole = np.frombuffer(data, kind if kind == "u1" else order + kind)
    # Convert and scale in one pass; integers are always finite and in range.
    samples: Float = np.multiply(whole, np.float32(1 / scale), dtype=np.float32, casting="unsafe")
    if kind == "u1":
        samples -= np.float32(1)
    return samples


def _decode_24(data: memoryview, big_endian: bool) -> Float:
    # The three bytes go to the top of a 32-bit word, which keeps the sign.
    triples = np.frombuffer(data, "u1").reshape(-1, 3)
    words = np.zeros((len(triples), 4), dtype="u1")
    words[:, 1:] = triples[:, ::-1] if big_endian else triples
    samples = words.view("<i4")[:, 0].astype(np.float32)
    samples *= np.float32(1 / 2147483648)
    return samples


def _open_wav(file: Content) -> Recording:
    header = read_header(file)
    if header is None:
        raise AudioError("too_short", "it ends before its samples begin")
    supported = (header.encoding == PCM and header.bits in (8, 16, 24, 32)) or (
        header.encoding == FLOAT and header.bits in (32, 64)
    )
    if not supported:
        raise AudioError(
            "unsupported_encoding",
            f"its samples are format {header.encoding:#06x} with {header.bits} bits; PCM of 8, 16, "
            "24 or 32 bits and float of 32 or 64 bits is read. Convert it to one of these",
        )
    if header.block_align != header.channels * header.bits // 8:
        raise AudioError(
            "bad_header",
            f"its header says {header.block_align} bytes a frame for {header.channels} channels "
            f"of {header.bits} bits",
        )
    there = max(0, file.size - header.data_start)
    if header.data_bytes is not None:
        there = min(there, header.data_bytes)
    return _Wav(file, header, there // header.block_align if header.block_align else 0)


# -- libsndfile ----------------------------------------------------------------------------------

_UNKNOWN = 2**63 - 1  # frames, if a stream's header gives no length


class _Sndfile:
    """A compressed recording."""

    bext: Bext | None = None

    def __init__(self, fd: int, kind: str) -> None:
        import soundfile  # import only for an allowed compressed file: 30 ms and 10 MB

        self._error = soundfile.LibsndfileError
        self.format = kind
        try:
            os.lseek(fd, 0, os.SEEK_SET)
            self._file = soundfile.SoundFile(fd, closefd=False)
        except self._error as error:
            raise AudioError("bad_header", error.error_string) from error
        held = self._file.format
        if held.lower() != kind:  # behind an ID3 tag libsndfile takes any format
            raise AudioError("not_audio", f"it begins as {kind.upper()} does but holds {held}")
        if self._file.frames == _UNKNOWN:  # libsndfile cannot seek in it either
            raise AudioError(
                "bad_header",
                f"its header does not say how long it is, as {held} written to a pipe does not; "
                "write it to a file",
            )
        self.rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.frames: int = max(0, self._file.frames)  # negative for some broken MP3
        if kind == "mp3" and self.frames and not self._reaches(self.frames):
            self.frames = self._count()  # without a Xing header the length is a guess

    def read(self, start: int, end: int) -> Float:
        return _read_blocks(self._decode, start, end, self.channels)

    def _decode(self, start: int, end: int) -> Float:
        try:
            if self._file.tell() != start:
                self._file.seek(start)
            frames = self._take(end - start)
        except self._error as error:
            raise AudioError("decode_error", error.error_string) from error
        if len(frames) < end - start:
            raise AudioError("decode_error", f"its data end or break before frame {end}")
        return checked(frames)

    def _take(self, frames: int) -> Float:
        # Pass our own array: to allocate one, soundfile computes the remaining frames, and gets a
        # negative number for a broken file.
        taken: Float = self._file.read(out=np.empty((frames, self.channels), dtype=np.float32))
        return taken

    def _reaches(self, end: int) -> bool:
        try:
            return len(self._decode(max(0, end - 1), end)) > 0
        except AudioError:
            return False

    def _count(self) -> int:
        frames, step = 0, max(1, BLOCK // self.channels)
        try:
            self._file.seek(0)
            while got := len(self._take(step)):
                frames += got
        except self._error as error:
            raise AudioError("decode_error", error.error_string) from error
        return frames
