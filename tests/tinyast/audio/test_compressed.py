"""Compressed recordings that are cut, joined, spoilt or count wrongly, and disks that fail."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import noise, wav_bytes

from tinyast.audio.compressed.ffmpeg import find
from tinyast.audio.compressed.mp3 import measure
from tinyast.audio.content import Content
from tinyast.audio.decoding import FORMATS, Recording, open_recording
from tinyast.audio.formats import sniff
from tinyast.errors import AudioError

RATE = 16_000
SUBTYPES = {"flac": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}


def encoded(kind: str, seconds: float = 4.0, rate: int = RATE) -> bytes:
    return wav_bytes(noise(seconds, rate), rate, SUBTYPES[kind], kind.upper())


class FailingContent(Content):
    """A file of which no byte behind `bad` can be read now."""

    bad = 1 << 60

    def view(self, length: int, offset: int) -> memoryview:
        if offset + length > self.bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().view(length, offset)


@contextmanager
def content(path: Path, data: bytes, bad: int = 1 << 60) -> Iterator[FailingContent]:
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        file = FailingContent(fd, len(data))
        file.bad = bad
        yield file
    finally:
        os.close(fd)


@contextmanager
def opened(path: Path, data: bytes) -> Iterator[Recording]:
    with content(path, data) as file:
        yield open_recording(file, FORMATS)


def seconds(sound: Recording) -> float:
    """Its length; all of it can be read, from the first frame and again from the middle."""
    assert len(sound.read(0, sound.frames)) == sound.frames
    assert len(sound.read(sound.frames // 2, sound.frames)) == sound.frames - sound.frames // 2
    return sound.frames / sound.rate


def whole(sound: Recording) -> None:
    sound.read(0, sound.frames)


def code(sound: Recording) -> str | None:
    return None if sound.defect is None else sound.defect.code


@pytest.mark.parametrize("kind", SUBTYPES)
def test_a_recording_that_is_whole_has_no_defect(tmp_path: Path, kind: str) -> None:
    with opened(tmp_path / "a", encoded(kind)) as sound:
        assert seconds(sound) == pytest.approx(4.0, abs=0.1)
        assert sound.defect is None


@pytest.mark.parametrize("kind", SUBTYPES)
def test_one_that_is_cut_short_says_so_and_what_is_there_is_heard(
    tmp_path: Path, kind: str
) -> None:
    data = encoded(kind)
    with opened(tmp_path / "a", data[: len(data) // 2 + 7]) as sound:
        assert 0.5 < seconds(sound) < 3.0
        assert code(sound) == "cut_short"


@pytest.mark.parametrize("kind", ["ogg", "mp3"])
def test_recordings_that_were_joined_are_heard_to_the_end(tmp_path: Path, kind: str) -> None:
    with opened(tmp_path / "a", 3 * encoded(kind)) as sound:
        assert seconds(sound) == pytest.approx(12.0, abs=0.4)
        assert sound.defect is None


@pytest.mark.parametrize(
    ("kind", "more"), [("flac", encoded("flac")), ("ogg", encoded("ogg", rate=48_000))]
)
def test_what_is_not_heard_of_joined_recordings_is_said(
    tmp_path: Path, kind: str, more: bytes
) -> None:
    with opened(tmp_path / "a", encoded(kind) + more) as sound:
        assert seconds(sound) == pytest.approx(4.0)
        assert code(sound) == "unread_data"


def test_the_length_of_mp3_is_no_guess(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    samples = np.concatenate([noise(4.0, level=0.3), noise(4.0, level=1e-4)])
    soundfile.write(path, samples, RATE, format="MP3", bitrate_mode="VARIABLE")
    data = path.read_bytes()
    with content(path, data) as file:
        found = measure(file)
        assert found is not None
        assert found.counted
    with opened(path, data[found.sound :]) as sound:  # without the frame that counts the others
        assert soundfile.info(path).frames < 7 * RATE, "its decoder guesses too little"
        assert seconds(sound) == pytest.approx(8.0, abs=0.2)
        assert sound.defect is None


def test_mp3_is_heard_up_to_where_it_is_spoilt(tmp_path: Path) -> None:
    data = bytearray(encoded("mp3"))
    middle = len(data) // 2
    data[middle : middle + 4_000] = bytes(4_000)
    with opened(tmp_path / "a.mp3", bytes(data)) as sound:
        assert seconds(sound) > 1.0
        assert sound.frames < 4 * RATE


@pytest.mark.parametrize("lost", [1, 300, 1_000, 5_000])
def test_mp3_of_a_network_stream_begins_within_a_frame(tmp_path: Path, lost: int) -> None:
    data = encoded("mp3", 20.0)
    with content(tmp_path / "a.mp3", data[lost:]) as file:
        assert sniff(file) == "mp3"
    with opened(tmp_path / "a.mp3", data[lost:]) as sound:
        assert sound.defect is None
        assert seconds(sound) == pytest.approx(20.0 * (1 - lost / len(data)), abs=0.4)


@pytest.mark.parametrize("lost", [1, 300, 1_000])
def test_aac_of_a_network_stream_begins_within_a_frame(tmp_path: Path, lost: int) -> None:
    if (ffmpeg := find()) is None:
        pytest.skip("ffmpeg is not installed")
    source = ("-f", "lavfi", "-i", "anoisesrc=d=20:r=16000")
    command = [ffmpeg, "-v", "error", *source, "-c:a", "aac", "-f", "adts", "pipe:1"]
    data = subprocess.run(command, check=True, capture_output=True).stdout[lost:]
    with opened(tmp_path / "a.aac", data) as sound:
        assert sound.format == "aac"
        assert seconds(sound) == pytest.approx(20.0, abs=0.5)


@pytest.mark.parametrize("data", [b"RIFF and more", b"\xff\xfb\x90\x64", b"noise"])
def test_what_holds_the_beginning_of_a_frame_by_chance_is_no_mp3(
    tmp_path: Path, data: bytes
) -> None:
    rng = np.random.default_rng(1)
    with content(tmp_path / "a", b"\0" + data + rng.bytes(100_000)) as file:
        assert sniff(file) is None


@pytest.mark.parametrize("kind", SUBTYPES)
def test_an_error_of_the_disk_is_none_of_the_file(tmp_path: Path, kind: str) -> None:
    data = encoded(kind, 60.0)
    for bad in (0, len(data) // 2):
        with content(tmp_path / "a", data, bad) as file:
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                whole(open_recording(file, FORMATS))
            file.bad = 1 << 60
            sound = open_recording(file, FORMATS)
            file.let_go()
            file.bad = len(data) // 2
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                whole(sound)


@pytest.mark.parametrize("data", [b"\xff" * 4_096, "RIFF and text".encode("utf-16")])
def test_erased_memory_and_text_are_no_mp3(tmp_path: Path, data: bytes) -> None:
    with content(tmp_path / "a", data) as file:
        assert sniff(file) is None


def test_mpeg_4_that_is_cut_or_holds_pictures_alone_is_said(tmp_path: Path) -> None:
    if find() is None:
        pytest.skip("ffmpeg is not installed")
    made = {}
    for name, source, codec in (
        ("sound", "anoisesrc=d=4:r=16000", ("-c:a", "aac", "-movflags", "faststart")),
        ("pictures", "color=red:s=64x64:d=1", ("-c:v", "mpeg4")),
    ):
        path = tmp_path / f"{name}.mp4"
        command = f"{find()} -v error -f lavfi -i {source} {' '.join(codec)} {path}"
        assert os.system(command) == 0
        made[name] = path.read_bytes()
    with opened(tmp_path / "a", made["sound"][:-20_000]) as sound:
        assert 1.0 < seconds(sound) < 3.8
        assert code(sound) == "cut_short"
    for data, word in ((made["pictures"], "no sound"), (made["pictures"][:-500], "more than")):
        with pytest.raises(AudioError, match=word), opened(tmp_path / "a", data):
            pass
