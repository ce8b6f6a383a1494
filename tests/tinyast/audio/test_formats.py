"""Formats are recognised by content, and unread ones are named correctly."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sounds import noise, wav_bytes
from test_audio import chunk, fmt, recording, refused, wav_of

from tinyast.audio.compressed import ffmpeg
from tinyast.audio.content import Content
from tinyast.audio.formats import FORMATS, sniff
from tinyast.errors import AudioError

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"FORM\0\0\0\x64AIFF", "AIFF; this format is not read; convert it to WAV or FLAC"),
        (b"caff\0\1\0\0", "Apple CAF; this format is not read"),
        (b".snd\0\0\0\x18", "Sun AU; this format is not read"),
        (b"\x1a\x45\xdf\xa3", "Matroska or WebM; this format is not read"),
        (
            b"\0\0\0\x20ftypM4A ",
            "MPEG-4 audio; convert it, or install ffmpeg and add m4a to formats",
        ),
        (b"\xff\xf1\x50\x80", "AAC; convert it, or install ffmpeg and add aac to formats"),
        (b"fLaC", "FLAC; add flac to formats, or convert it to WAV"),
        (b"OggS".ljust(28, b"\0") + b"OpusHead", "Opus; add opus to formats, or convert it to WAV"),
    ],
)
def test_what_is_not_read_is_named_with_what_to_do(tmp_path: Path, head: bytes, words: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(head + bytes(200))
    error = refused(path, "wav")
    assert (error.code, str(error)[: len(words) + 15]) == (
        "format_not_allowed",
        f"its content is {words}"[: len(words) + 15],
    )


def test_riff_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", 100) + b"AVI " + bytes(100))
    assert str(refused(path)) == "its content is RIFF of the type AVI, not WAVE"


# -- more encodings of WAV -----------------------------------------------------------------------


@needs_ffmpeg
@pytest.mark.parametrize("codec", ["pcm_alaw", "pcm_mulaw"])
def test_companded_samples_decode_as_ffmpeg_does(tmp_path: Path, codec: str) -> None:
    every = tmp_path / "every.wav"
    encoding = {"pcm_alaw": 6, "pcm_mulaw": 7}[codec]
    codes = bytes(range(256))
    every.write_bytes(
        wav_of(chunk(b"fmt ", fmt(rate=8_000, bits=8, encoding=encoding)), chunk(b"data", codes))
    )
    command = ["ffmpeg", "-v", "error", "-i", str(every), "-f", "s16le", "pipe:1"]
    expected = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, "<i2")
    with recording(every) as sound:
        np.testing.assert_array_equal(sound.read(0, 256) * 32_768, expected)


@pytest.mark.parametrize(
    ("bits", "width"), [(12, 2), (14, 2), (20, 3), (24, 4), (20, 4), (10, 2), (18, 3)]
)
def test_samples_narrower_than_their_bytes_are_left_justified(
    tmp_path: Path, bits: int, width: int
) -> None:
    path = tmp_path / "a.wav"
    values = np.array([0.5, -0.25, 0.0, -1.0])
    whole = (values * 2 ** (8 * width - 1)).astype("<i8").view("u1").reshape(-1, 8)[:, :width]
    form = struct.pack("<HHIIHH", 1, 1, 16_000, 16_000 * width, width, bits)
    path.write_bytes(wav_of(chunk(b"fmt ", form), chunk(b"data", whole.tobytes())))
    with recording(path) as sound:
        np.testing.assert_array_equal(sound.read(0, 4), values)


# -- what ffmpeg decodes -------------------------------------------------------------------------


def encoded(path: Path, *options: str, seconds: float = 7.0, channels: int = 1) -> Path:
    source = path.with_suffix(".source.wav")
    sound = np.stack([noise(seconds, 16_000, seed) for seed in range(channels)], axis=1)
    source.write_bytes(wav_bytes(sound, 16_000))
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(source), *options, str(path)]
    subprocess.run(command, check=True)
    return path


def by_ffmpeg(path: Path) -> NDArray[np.float32]:
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "f32le", "pipe:1"]
    return np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, "<f4")


@needs_ffmpeg
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("m4a", ("-c:a", "aac", "-f", "ipod")),
        ("m4a", ("-c:a", "aac", "-f", "ipod", "-movflags", "+faststart")),
        ("aac", ("-c:a", "aac", "-f", "adts")),
    ],
)
def test_ffmpeg_decodes_what_formats_name(
    tmp_path: Path, kind: str, options: tuple[str, ...]
) -> None:
    path = encoded(tmp_path / f"a.{kind}", *options)
    expected = by_ffmpeg(path)
    with recording(path, "wav", kind) as sound:
        assert (sound.format, sound.rate, sound.frames) == (kind, 16_000, len(expected))
        spans = ((0, 80_000), (sound.frames - 80_000, sound.frames), (1_000, 2_000))
        for first, last in spans:
            np.testing.assert_allclose(sound.read(first, last), expected[first:last], atol=1e-7)
    assert refused(path, "wav").code == "format_not_allowed"


@needs_ffmpeg
def test_segments_of_flac_are_read_each_for_itself(tmp_path: Path) -> None:
    pattern = ("-f", "segment", "-segment_time", "3", "-c:a", "flac")
    encoded(tmp_path / "s_%d.flac", *pattern)
    segments = sorted(tmp_path.glob("s_*.flac"))
    assert len(segments) >= 2
    heard = []
    for segment in segments:
        with recording(segment, "flac") as sound:
            heard.append(sound.read(0, sound.frames))
    expected = np.round(noise(7.0, 16_000) * 32_768) / 32_768
    np.testing.assert_allclose(np.concatenate(heard), expected, atol=1e-4)


@needs_ffmpeg
def test_opus_is_read_if_formats_name_it(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.opus", "-c:a", "libopus")
    with recording(path, "opus") as sound:
        assert (sound.format, sound.rate) == ("opus", 16_000)
        assert sound.frames == pytest.approx(7 * 16_000, abs=960)
        whole = sound.read(0, sound.frames)
        assert np.corrcoef(whole[: 7 * 16_000], noise(7.0, 16_000))[0, 1] > 0.5
        np.testing.assert_allclose(sound.read(32_000, 33_000), whole[32_000:33_000], atol=0.02)


@needs_ffmpeg
def test_what_ffmpeg_cannot_decode_is_an_error_in_its_words(tmp_path: Path) -> None:
    whole = encoded(tmp_path / "a.m4a", "-c:a", "aac", "-f", "ipod").read_bytes()
    path = tmp_path / "cut.m4a"
    path.write_bytes(whole[: len(whole) // 2])  # the index at its end is missing
    error = refused(path, "m4a")
    assert error.code == "decode_error"
    assert "ffmpeg says" in str(error)


@needs_ffmpeg
def test_ffmpeg_opens_no_other_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(wav_bytes(noise(1)))
    path = tmp_path / "list.m4a"
    path.write_text(f"#EXTM3U\n#EXTINF:1\n{secret}\n")
    assert refused(path, *FORMATS).code == "not_audio"
    fd = os.open(path, os.O_RDONLY)
    with pytest.raises(AudioError):
        ffmpeg.FFmpeg(fd, "m4a", "mix")
    os.close(fd)


def test_without_ffmpeg_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "find", lambda: None)
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(200))
    error = refused(path, "m4a")
    assert error.code == "no_decoder"
    assert "install" in str(error)


@pytest.mark.parametrize("what", ["hangs", "floods"])
def test_an_ffmpeg_that_hangs_or_floods_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    program = tmp_path / "ffmpeg"
    header = repr(wav_bytes(noise(0.1))[:44])
    body = {
        "hangs": "time.sleep(600)",
        "floods": "sys.stderr.buffer.write(b'x' * 10**7); time.sleep(600)",
    }[what]
    program.write_text(
        f"#!{sys.executable}\nimport sys, time\n"
        f"sys.stdout.buffer.write({header})\nsys.stdout.buffer.flush()\n{body}\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(ffmpeg, "find", lambda: str(program))
    monkeypatch.setattr(ffmpeg, "TIMEOUT_S", 0.5)
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(200))
    assert "gave nothing" in str(refused(path, "m4a"))


def test_sniffing_reads_little(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"ID3\4\0\0" + bytes([0x7F] * 4))  # a tag longer than the file
    with path.open("rb") as file:
        assert sniff(Content(file.fileno(), 10)) == "mp3"


@needs_ffmpeg
def test_a_decoder_that_finds_no_sound_says_so(tmp_path: Path) -> None:
    """libsndfile's own words for it are that it is no regular file."""
    last = tmp_path / "2.mp3"  # a segment of 369 bytes, which only holds the encoder's delay
    encoded(
        tmp_path / "%d.mp3", "-c:a", "libmp3lame", "-b:a", "16k", "-f", "segment",
        "-segment_time", "45", seconds=90.0,
    )  # fmt: skip
    error = refused(last, "mp3")
    assert (error.code, "regular file" in str(error)) == ("bad_header", False)
    assert "too short" in str(error)
