"""Read sound from an open file, in pieces, without trusting its header.

WAV is decoded here from the bytes that exist, so a header without a length (a stream) or with too
large a length (a cut file) needs no repair. If the caller allows them, libsndfile reads FLAC, Ogg,
Opus and MP3, and an installed ffmpeg M4A and AAC. The content determines the format, never the
name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tinyast.arrays import Float
from tinyast.audio.channels import Channel, check_channel
from tinyast.audio.compressed.ffmpeg import DEMUXERS, FFmpeg
from tinyast.audio.compressed.sndfile import Sndfile
from tinyast.audio.content import Content
from tinyast.audio.formats import DEFAULT_FORMATS, FORMATS, check_allowed, sniff
from tinyast.audio.samples import check_rate, checked
from tinyast.audio.wav.metadata import Metadata
from tinyast.audio.wav.recording import Wav
from tinyast.errors import AudioError

__all__ = (
    "FORMATS", "MAX_CHANNELS", "Recording", "check_rate", "check_regular", "checked",
    "open_recording", "opened", "read_file", "sniff",
)  # fmt: skip

MAX_CHANNELS = 64


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
    def defect(self) -> AudioError | None:
        """The fault of a recording whose `frames` can all be read; None without one.

        `cut_short` if its header promises more than there is, `unread_data` if bytes follow that it
        does not count, `decode_error` if the data break after the last frame.
        """
        ...

    @property
    def metadata(self) -> Metadata: ...

    def read(self, start: int, end: int) -> Float:
        """Frames `start` to `end` as one channel, (end - start,) float32, full scale at 1.

        Raises AudioError `decode_error` if fewer can be decoded, `not_finite` or
        `out_of_range` for samples that no recorder writes.
        """
        ...


def open_recording(
    file: Content, formats: Collection[str] = DEFAULT_FORMATS, channel: Channel = "mix"
) -> Recording:
    """Open the sound in `file`; the caller closes its descriptor.

    Raises AudioError with code `not_audio`, `format_not_allowed`, `bad_header`,
    `unsupported_encoding`, `no_decoder`, `decode_error`, `bad_rate`, `bad_channels` or `too_short`.
    """
    kind = check_allowed(file, sniff(file), formats)
    recording: Recording
    if kind == "wav":
        recording = Wav(file, channel)
    elif kind in DEMUXERS:
        recording = FFmpeg(file.fd, kind, channel)
    else:
        recording = Sndfile(file, kind, channel)
    check_rate(recording.rate)
    if not 1 <= recording.channels <= MAX_CHANNELS:
        raise AudioError(
            "bad_channels",
            f"its header says {recording.channels} channels; from 1 to {MAX_CHANNELS} is accepted",
        )
    check_channel(channel, recording.channels)
    if recording.frames < 2:
        raise AudioError("too_short", f"it holds {recording.frames} frames of sound")
    return recording


def read_file(
    path: Path | str, formats: Collection[str] = FORMATS, channel: Channel = "mix"
) -> tuple[Float, int]:
    """A whole file as mono samples, (n,) float32, and its rate in Hz.

    Raises AudioError, OSError.
    """
    with opened(path, formats, channel) as recording:
        return recording.read(0, recording.frames), recording.rate


def check_regular(found: os.stat_result) -> None:
    """Raise AudioError `not_audio` for a folder, pipe or device."""
    if not stat.S_ISREG(found.st_mode):
        raise AudioError("not_audio", "it is not a file but a folder, pipe or device")


@contextmanager
def opened(
    path: Path | str, formats: Collection[str] = FORMATS, channel: Channel = "mix"
) -> Iterator[Recording]:
    """The sound in a file, to read piece by piece.

    Raises OSError, and AudioError, of a pipe or device too: reading one may never end.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        check_regular(found)
        yield open_recording(Content(fd, found.st_size), formats, channel)
    finally:
        os.close(fd)
