"""Picture and sound for a notification."""

from __future__ import annotations

import io
import logging
import os

import numpy as np

from daemon.host.files import opened
from daemon.protocol.messages import Event, Message, Prediction, raw_path
from daemon.settings.subscribers import Notify
from tinyast.audio.content import Content
from tinyast.audio.decoding import FORMATS, open_recording
from tinyast.errors import AudioError

log = logging.getLogger(__name__)

MOST_BYTES = 4_000_000  # of one sound; some services take no larger files


class Newest:
    """The newest prediction and picture of each source: an event names neither."""

    def __init__(self) -> None:
        self._predictions: dict[tuple[str, str], Prediction] = {}
        self._pictures: dict[tuple[str, str], tuple[str, bytes]] = {}  # id of its prediction, PNG
        # Of each source: the newest file with a voice that is not to be heard, and where that ends.
        self._voices: dict[tuple[str, str], tuple[str | None, float]] = {}

    def show(self, kind: str, name: str, id: str, png: bytes) -> None:
        self._pictures[kind, name] = id, png

    def hear(self, message: Message) -> None:
        if not isinstance(message, Prediction):
            return
        named = message.source.kind, message.source.name
        self._predictions[named] = message
        if message.private is True:
            self._voices[named] = message.file_id, message.window.end_s

    def of(self, message: Message, wanted: Notify) -> dict[str, bytes]:
        """Files to attach, by name. Empty if there is neither picture nor sound."""
        if not isinstance(message, Prediction | Event):
            return {}
        named = message.source.kind, message.source.name
        heard = message if isinstance(message, Prediction) else self._predictions.get(named)
        found = {}
        shown = self._pictures.get(named)
        if "picture" in wanted.attach and shown and (heard is None or shown[0] == heard.id):
            found["picture.png"] = shown[1]
        if heard is None or "sound" not in wanted.attach or self._has_voice(heard):
            return found
        if sound := _sound(heard):
            found["sound.wav"] = sound
        return found

    def _has_voice(self, heard: Prediction) -> bool:
        """Whether a window is private, or shares sound with one before it in its file."""
        file, end_s = self._voices.get((heard.source.kind, heard.source.name), (None, 0.0))
        within = file == heard.file_id and heard.window.start_s < end_s
        return heard.private is True or (heard.source.kind == "file" and within)


def _sound(heard: Prediction) -> bytes | None:
    """The window as a WAV file of 16-bit samples; None if it is not there, or too large."""
    import soundfile

    kept = heard.audio if isinstance(heard.audio, str) else None
    path = kept or heard.source.path
    if path is None or (heard.source.kind == "mic" and kept is None):
        return None
    encoded = kept is None and isinstance(heard.source.path_encoding, str)
    name = raw_path(path, encoded)
    try:
        # The daemon names a file in a folder without a link: through one, it is another file.
        with opened(name, None if kept else b"/") as fd:
            recording = open_recording(Content(fd, os.fstat(fd).st_size), FORMATS)
            start, end = 0, recording.frames
            if kept is None:  # a kept file holds this window alone
                start = round(heard.window.start_s * recording.rate)
                end = min(end, round(heard.window.end_s * recording.rate))
            if not start < end:
                return None
            samples = recording.read(start, end)
            file = io.BytesIO()
            soundfile.write(file, np.clip(samples, -1, 1), recording.rate, "PCM_16", format="WAV")
    except (AudioError, OSError) as error:
        log.info("no sound is attached: %s", error)
        return None
    return file.getvalue() if file.tell() <= MOST_BYTES else None
