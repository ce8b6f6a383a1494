"""The sound of a stored prediction, cut to its window: opened by its number, through no link."""

from __future__ import annotations

import io
import os
from typing import Protocol

import numpy as np

from daemon.errors import DaemonError
from daemon.page.finding import open_version
from daemon.protocol.messages import raw_path
from tinyast.arrays import Float
from tinyast.audio.content import Content
from tinyast.audio.decoding import FORMATS, open_recording
from tinyast.errors import AudioError


class Clip(Protocol):
    """The place of a window: a prediction or a review."""

    @property
    def daemon(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def path(self) -> str | None: ...
    @property
    def encoded(self) -> bool: ...
    @property
    def file_id(self) -> str | None: ...
    @property
    def published(self) -> int: ...
    @property
    def start_s(self) -> float: ...
    @property
    def length_s(self) -> float: ...


class NoSound(DaemonError):
    """The sound of a prediction cannot be given; the text says why."""


def path_of(row: Clip) -> bytes:
    """The path in a message as the file system has it. Raises NoSound."""
    if row.path is None:
        raise NoSound("the daemon kept no sound of this window (setting: keep)")
    return raw_path(row.path, row.encoded)


def read_window(row: Clip, roots: list[bytes]) -> tuple[Float, int]:
    """Mono samples, (n,), and their rate in Hz.

    `roots` are the folders that the daemon named; a file outside of them is not opened. Raises
    NoSound.
    """
    path = path_of(row)
    if row.kind == "mic":  # a clip that the daemon made, in a folder of its state
        roots = [os.path.dirname(path)]
    root = next((each for each in roots if path.startswith(each.rstrip(b"/") + b"/")), None)
    if root is None:
        raise NoSound("its file is in none of the folders that the daemon watches")
    try:
        fd = open_version(root, path, row.file_id, row.published / 1000)
    except OSError as error:
        raise NoSound(f"its file cannot be opened: {error.strerror}") from error
    try:
        recording = open_recording(Content(fd, os.fstat(fd).st_size), FORMATS)
        kept = row.kind == "mic"  # its file holds this window alone
        start = 0 if kept else round(row.start_s * recording.rate)
        length = round(row.length_s * recording.rate)
        end = recording.frames if kept else min(recording.frames, start + length)
        if start >= end:
            raise NoSound("its file has become shorter than the window")
        return recording.read(start, end), recording.rate
    except (AudioError, OSError) as error:
        raise NoSound(f"its file cannot be read: {error}") from error
    finally:
        os.close(fd)


def wav_bytes(samples: Float, rate: int) -> bytes:
    """A mono WAV file of 16-bit samples."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1, 1), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()
