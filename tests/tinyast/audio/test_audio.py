"""Decoding: compared with libsndfile, and with the bytes themselves if libsndfile is wrong."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from sounds import header, noise, wav_bytes

from tinyast.audio import channels as audio
from tinyast.audio.content import SMALL, Content
from tinyast.audio.decoding import FORMATS, Recording, checked, open_recording, read_file
from tinyast.audio.wav.header import WavHeader, read_header
from tinyast.errors import AudioError

SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")


@contextmanager
def recording(path: Path, *formats: str) -> Iterator[Recording]:
    with path.open("rb") as file:
        yield open_recording(Content(file.fileno(), path.stat().st_size), formats or ("wav",))


def walked(path: Path) -> WavHeader | None:
    with path.open("rb") as file:
        return read_header(Content(file.fileno(), path.stat().st_size))


def refused(path: Path, *formats: str) -> AudioError:
    """The error that opening and reading the file ends in."""
    with pytest.raises(AudioError) as caught, recording(path, *formats) as sound:
        sound.read(0, sound.frames)
    return caught.value


def reference(path: Path) -> NDArray[np.float64]:
    """Libsndfile's own decode, mixed to one channel."""
    frames, _ = soundfile.read(path, dtype="float64", always_2d=True)
    mixed: NDArray[np.float64] = frames.mean(axis=1)
    return mixed


def assert_same(path: Path, *formats: str) -> None:
    with recording(path, *formats) as sound:
        heard = sound.read(0, sound.frames)
        assert sound.rate == soundfile.info(path).samplerate
    assert heard.dtype == np.float32
    np.testing.assert_allclose(heard, reference(path), rtol=1e-6, atol=1e-7)


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def wav_of(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def fmt(channels: int = 1, rate: int = 16_000, bits: int = 16, encoding: int = 1) -> bytes:
    align = channels * bits // 8
    return struct.pack("<HHIIHH", encoding, channels, rate, rate * align, align, bits)


def pcm16(count: int) -> bytes:
    return (np.arange(count) * 37 % 65_536 - 32_768).astype("<i2").tobytes()


# -- every encoding ------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64", "RIFX"])
@pytest.mark.parametrize("subtype", SUBTYPES)
def test_decodes_as_libsndfile_does(
    tmp_path: Path, subtype: str, container: str, channels: int
) -> None:
    path = tmp_path / "a.wav"
    frames = np.stack([noise(0.1, 22_050, seed) for seed in range(channels)], axis=1)
    format, endian = ("WAV", "BIG") if container == "RIFX" else (container, "FILE")
    soundfile.write(path, frames, 22_050, subtype=subtype, format=format, endian=endian)
    magic = path.read_bytes()[:4]
    assert magic == {"RF64": b"RF64", "RIFX": b"RIFX"}.get(container, b"RIFF")
    assert_same(path)


@pytest.mark.parametrize("subtype", SUBTYPES[:4])
def test_the_extremes_of_integers_are_full_scale(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.array([-1.0, 0.0, 0.999]), 16_000, subtype=subtype)
    heard, _ = read_file(path)
    assert heard[0] == -1
    assert heard[1] == 0


def test_originals_decode_as_libsndfile_does(originals: list[Path]) -> None:
    for path in originals:
        assert_same(path)


@pytest.mark.parametrize(("first", "last"), [(0, 1), (0, 100), (99, 100), (50, 51), (37, 93)])
def test_any_span_is_the_same_span_of_the_whole(tmp_path: Path, first: int, last: int) -> None:
    path = tmp_path / "a.wav"
    frames = np.stack([noise(100 / 16_000, seed=seed) for seed in range(3)], axis=1)
    soundfile.write(path, frames, 16_000, subtype="PCM_24")
    with recording(path) as sound:
        whole = sound.read(0, sound.frames)
        np.testing.assert_array_equal(sound.read(first, last), whole[first:last])


def test_blocks_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(np.stack([noise(0.1), noise(0.1, seed=1)], axis=1)))
    whole, _ = read_file(path)
    monkeypatch.setattr(audio, "BLOCK", 64)
    np.testing.assert_array_equal(read_file(path)[0], whole)


# -- every shape of file -------------------------------------------------------------------------


def test_chunks_of_odd_length_before_the_samples_are_stepped_over(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(
        wav_of(
            chunk(b"JUNK", b"abc"),
            chunk(b"fmt ", fmt()),
            chunk(b"note", b"x" * 7),
            chunk(b"fact", bytes(4)),
            chunk(b"data", pcm16(100)),
        )
    )
    assert_same(path)


def test_what_follows_the_samples_is_no_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    listed = chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 4) + b"test")
    odd = bytes(range(101))  # 8 bits: an odd number of bytes, so a pad byte follows
    path.write_bytes(wav_of(chunk(b"fmt ", fmt(bits=8)), chunk(b"data", odd), listed))
    assert_same(path)
    with recording(path) as sound:
        assert sound.frames == 101


def test_a_format_chunk_may_be_longer_than_it_need_be(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_of(chunk(b"fmt ", fmt() + bytes(2)), chunk(b"data", pcm16(10))))
    assert_same(path)


# -- headers without a promise, with too much or too little --------------------------------------


PLACEHOLDERS = (0, 0xFFFF_FFFF, 0xFFFF_FFFF - 36, 0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000)


@pytest.mark.parametrize("size", PLACEHOLDERS)
def test_a_placeholder_for_the_size_promises_nothing(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(header(size) + pcm16(1_000))
    found = walked(path)
    assert found is not None
    assert found.data_bytes is None
    assert found.missing(path.stat().st_size) == 0
    with recording(path) as sound:
        assert sound.frames == 1_000
        heard = sound.read(0, 1_000)
    np.testing.assert_array_equal(heard, np.frombuffer(pcm16(1_000), "<i2") / np.float32(32_768))


@pytest.mark.parametrize("wide", [0, 2**64 - 1])
def test_a_placeholder_in_rf64_promises_nothing(tmp_path: Path, wide: int) -> None:
    path = tmp_path / "a.wav"
    sizes = chunk(b"ds64", struct.pack("<QQQI", 0, wide, 0, 0))
    body = sizes + chunk(b"fmt ", fmt()) + b"data" + struct.pack("<I", 0xFFFF_FFFF) + pcm16(10)
    path.write_bytes(b"RF64" + struct.pack("<I", 0xFFFF_FFFF) + b"WAVE" + body)
    found = walked(path)
    assert found is not None
    assert found.data_bytes is None
    with recording(path) as sound:
        assert sound.frames == 10


def test_rf64_keeps_a_promise_beyond_32_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    sizes = chunk(b"ds64", struct.pack("<QQQI", 0, 2**33, 0, 0))
    body = sizes + chunk(b"fmt ", fmt()) + b"data" + struct.pack("<I", 0xFFFF_FFFF) + pcm16(10)
    path.write_bytes(b"RF64" + struct.pack("<I", 0xFFFF_FFFF) + b"WAVE" + body)
    found = walked(path)
    assert found is not None
    assert found.missing(path.stat().st_size) == 2**33 - 20


def streamed(tmp_path: Path, tool: str, *arguments: str, stdin: bytes | None = None) -> Path:
    """What an installed program writes to a pipe, which it cannot seek in."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run([tool, *arguments], input=stdin, capture_output=True, timeout=60)
    if done.returncode:
        pytest.skip(f"{tool} does not do this here: {done.stderr.decode(errors='replace')[-200:]}")
    path = tmp_path / f"{tool}.wav"
    path.write_bytes(done.stdout)
    return path


RAW_16 = pcm16(8_000)


def test_what_ffmpeg_writes_to_a_pipe(tmp_path: Path) -> None:
    raw = ("-f", "s16le", "-ar", "16000", "-ac", "1", "-i", "pipe:0")
    path = streamed(tmp_path, "ffmpeg", "-v", "error", *raw, "-f", "wav", "pipe:1", stdin=RAW_16)
    assert_streamed(path)


def test_what_sox_writes_to_a_pipe(tmp_path: Path) -> None:
    raw = ("-t", "raw", "-r", "16000", "-e", "signed", "-b", "16", "-c", "1", "-")
    assert_streamed(streamed(tmp_path, "sox", "-V1", *raw, "-t", "wav", "-", stdin=RAW_16))


def assert_streamed(path: Path) -> None:
    found = walked(path)
    assert found is not None
    assert found.data_bytes is None
    with recording(path) as sound:
        heard = sound.read(0, sound.frames)
    np.testing.assert_array_equal(heard, np.frombuffer(RAW_16, "<i2") / np.float32(32_768))


def test_what_arecord_writes_to_a_pipe(tmp_path: Path) -> None:
    taken = ("-f", "S16_LE", "-r", "16000", "-c", "1", "-t", "wav")
    path = streamed(tmp_path, "arecord", "-q", "-D", "null", "-d", "1", *taken)
    with recording(path) as sound:
        assert (sound.rate, sound.channels, sound.frames) == (16_000, 1, 16_000)
        sound.read(0, sound.frames)


def test_a_header_that_promises_too_much_gives_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(header(100_000) + pcm16(1_000))
    found = walked(path)
    assert found is not None
    assert found.missing(path.stat().st_size) == 98_000
    with recording(path) as sound:
        assert len(sound.read(0, sound.frames)) == 1_000


def test_a_header_that_promises_too_little_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(header(1_000) + pcm16(1_000))
    with recording(path) as sound:
        assert sound.frames == 500
        assert sound.defect is not None
        assert str(sound.defect).startswith("1000 bytes follow")


def test_half_a_frame_at_the_end_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(header(4_001, channels=2) + pcm16(2_000) + b"x")
    with recording(path) as sound:
        assert sound.frames == 1_000


def test_a_file_cut_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(header(2 * SMALL) + pcm16(SMALL))
    with recording(path) as sound:
        os.truncate(path, SMALL)
        assert len(sound.read(0, 400)) == 400
        with pytest.raises(AudioError) as caught:
            sound.read(SMALL - 400, SMALL)
    assert caught.value.code == "decode_error"


def test_a_small_file_cut_while_it_is_read_is_read_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(header(2_000) + pcm16(1_000))
    with recording(path) as sound:
        os.truncate(path, 1_000)
        assert len(sound.read(0, 1_000)) == 1_000


@pytest.mark.parametrize("length", range(0, 44, 4))
def test_a_header_cut_anywhere_is_not_whole_yet(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(header(2_000)[:length])
    assert walked(path) is None
    assert refused(path).code in ("too_short", "not_audio")


# -- refusals ------------------------------------------------------------------------------------


def floats(*values: float) -> bytes:
    data = np.array(values, "<f4").tobytes()
    return header(len(data), bits=32, encoding=3) + data


REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "too_short"),
    "text": (b"this is no sound at all, but a line of text\n" * 20, "not_audio"),
    "zeros": (bytes(5_000), "not_audio"),
    "riff of another kind": (b"RIFF" + struct.pack("<I", 100) + b"AVI " + bytes(100), "not_audio"),
    "aiff": (b"FORM" + struct.pack(">I", 100) + b"AIFF" + bytes(100), "format_not_allowed"),
    "samples before their format": (wav_of(chunk(b"data", bytes(100))), "bad_header"),
    "format too short": (
        wav_of(chunk(b"fmt ", bytes(8)), chunk(b"data", bytes(100))),
        "bad_header",
    ),
    "endless chunks": (wav_of(*[chunk(b"JUNK", b"")] * 1_200), "bad_header"),
    "header only": (header(0), "too_short"),
    "no samples chunk": (wav_of(chunk(b"fmt ", fmt())), "too_short"),
    "one frame": (header(2) + b"\1\0", "too_short"),
    "1 Hz": (header(200, rate=1) + pcm16(100), "bad_rate"),
    "0 Hz": (header(200, rate=0) + pcm16(100), "bad_rate"),
    "3999 Hz": (header(200, rate=3_999) + pcm16(100), "bad_rate"),
    "2 GHz": (header(200, rate=2_000_000_000) + pcm16(100), "bad_rate"),
    "no channels": (header(200, channels=0) + pcm16(100), "bad_channels"),
    "65 channels": (header(1_300, channels=65) + pcm16(650), "bad_channels"),
    "7 bits": (header(200, bits=7) + pcm16(100), "unsupported_encoding"),
    "16-bit float": (header(200, encoding=3) + pcm16(100), "unsupported_encoding"),
    "16-bit a-law": (header(200, bits=16, encoding=6) + pcm16(100), "unsupported_encoding"),
    "adpcm": (header(200, bits=4, encoding=2) + pcm16(100), "unsupported_encoding"),
    "frames of the wrong size": (
        wav_of(chunk(b"fmt ", fmt()[:12] + struct.pack("<HH", 3, 16)), chunk(b"data", pcm16(99))),
        "bad_header",
    ),
    "not a number": (floats(0.1, float("nan"), 0.2), "not_finite"),
    "infinite": (floats(0.1, float("inf"), 0.2), "not_finite"),
    "negative infinite": (floats(0.1, float("-inf"), 0.2), "not_finite"),
    "1e37": (floats(0.1, 1e37, 0.2), "out_of_range"),
    "-1e37": (floats(0.1, -1e37, 0.2), "out_of_range"),
    "signalling not a number": (
        header(12, bits=32, encoding=3) + struct.pack("<3I", 0, 0x7FA0_0001, 0),
        "not_finite",
    ),
    "float64 beyond float32": (
        header(16, bits=64, encoding=3) + struct.pack("<2d", 1e300, 0),
        "not_finite",
    ),
    "channels that cancel": (
        header(16, channels=2, bits=32, encoding=3) + struct.pack("<4f", 0, 0, 1e37, -1e37),
        "out_of_range",
    ),
    "infinities that cancel": (
        header(16, channels=2, bits=32, encoding=3)
        + struct.pack("<4f", 0, 0, float("inf"), float("-inf")),
        "not_finite",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_sound_is_refused_by_a_code(tmp_path: Path, what: str) -> None:
    data, code = REFUSED[what]
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    error = refused(path)
    assert error.code == code
    assert str(error)


@pytest.mark.parametrize("rate", [4_000, 384_000])
def test_the_bounds_of_the_rate_are_inside(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(header(200, rate=rate) + pcm16(100))
    assert_same(path)


def test_the_loudest_sample_accepted_is_a_million_times_full_scale() -> None:
    assert len(checked(np.array([1e6, -1e6], np.float32))) == 2
    with pytest.raises(AudioError):
        checked(np.array([0, -1.001e6], np.float32))


# -- compressed formats --------------------------------------------------------------------------


def compressed(path: Path, kind: str, seconds: float = 1.0) -> Path:
    subtype = {"flac": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}[kind]
    path.write_bytes(wav_bytes(noise(seconds, 44_100), 44_100, subtype, kind.upper()))
    return path


@pytest.mark.parametrize("kind", ["flac", "ogg", "mp3"])
def test_a_compressed_file_decodes_as_libsndfile_does_where_it_is_allowed(
    tmp_path: Path, kind: str
) -> None:
    assert_same(compressed(tmp_path / "a.bin", kind), "wav", kind)


@pytest.mark.parametrize("kind", ["flac", "ogg", "mp3"])
def test_a_format_not_allowed_is_refused_whatever_its_name(tmp_path: Path, kind: str) -> None:
    error = refused(compressed(tmp_path / "a.wav", kind), "wav")
    assert error.code == "format_not_allowed"
    assert kind.upper() in str(error)
    assert f"add {kind} to formats" in str(error)


def test_a_format_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    wav = tmp_path / "a.flac"
    wav.write_bytes(wav_bytes(noise(0.1)))
    with recording(wav, *FORMATS) as sound:
        assert sound.format == "wav"
    with recording(compressed(tmp_path / "b.wav", "flac"), *FORMATS) as sound:
        assert sound.format == "flac"


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_the_format_behind_an_id3_tag_decides(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.mp3"
    plain = wav_bytes(noise(1)) if kind == "wav" else compressed(path, "flac").read_bytes()
    path.write_bytes(plain)
    expected = reference(path)
    tag = b"ID3\x03\x00\x00" + bytes([0, 0, 1, 2]) + bytes(130)
    path.write_bytes(tag + plain)
    with recording(path, kind) as sound:
        np.testing.assert_allclose(sound.read(0, sound.frames), expected, atol=1e-7)
    assert refused(path, "mp3").code == "format_not_allowed"


def test_flac_that_does_not_say_how_long_it_is_is_read_to_its_end(tmp_path: Path) -> None:
    path = compressed(tmp_path / "a.flac", "flac")
    expected = reference(path)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the 36 bits of STREAMINFO that count its samples (RFC 9639, 8.2)
    data[22:26] = bytes(4)
    path.write_bytes(data)
    with recording(path, "flac") as sound:
        assert sound.frames == len(expected)
        for first, last in ((0, 20_000), (20_000, 44_100), (30_000, 44_100), (5, 10)):
            np.testing.assert_allclose(sound.read(first, last), expected[first:last], atol=1e-7)
    path.write_bytes(data[: len(data) // 2])
    with recording(path, "flac") as sound:
        assert len(expected) / 3 < sound.frames < len(expected)
        assert sound.defect is not None
        assert sound.defect.code == "decode_error"
        whole = sound.read(0, sound.frames)
        np.testing.assert_allclose(whole, expected[: sound.frames], atol=1e-7)


def test_mp3_without_a_count_of_frames_is_heard_to_its_end(tmp_path: Path) -> None:
    raw = ("-f", "s16le", "-ar", "16000", "-ac", "1", "-i", "pipe:0")
    out = ("-f", "mp3", "-write_xing", "0", "pipe:1")
    path = streamed(tmp_path, "ffmpeg", "-v", "error", *raw, *out, stdin=pcm16(32_000))
    with recording(path, "mp3") as sound:
        assert len(sound.read(0, sound.frames)) >= 32_000
        sound.read(sound.frames - 100, sound.frames)


def test_compressed_data_that_break_midway_are_an_error(tmp_path: Path) -> None:
    path = compressed(tmp_path / "a", "flac")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2_000] = bytes(2_000)
    path.write_bytes(data)
    assert refused(path, "flac").code == "decode_error"


def test_a_span_of_a_compressed_file_is_read_without_the_rest(tmp_path: Path) -> None:
    with recording(compressed(tmp_path / "a.flac", "flac"), "flac") as sound:
        whole = sound.read(0, sound.frames)
        np.testing.assert_array_equal(sound.read(30_000, 40_000), whole[30_000:40_000])
        np.testing.assert_array_equal(sound.read(0, 100), whole[:100])


# -- threads -------------------------------------------------------------------------------------


def test_several_threads_read_their_own_files(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.wav" for n in range(4)]
    for n, path in enumerate(paths):
        path.write_bytes(wav_bytes(noise(1, seed=n)))
    expected = [reference(path) for path in paths]
    wrong: list[Path] = []

    def read(path: Path, samples: NDArray[np.float64]) -> None:
        for _ in range(20):
            if not np.allclose(read_file(path)[0], samples, atol=1e-7):
                wrong.append(path)

    threads = [
        threading.Thread(target=read, args=pair) for pair in zip(paths, expected, strict=True)
    ]
    run_all(threads, threading.Thread.start)
    run_all(threads, threading.Thread.join)
    assert not wrong


def run_all(threads: list[threading.Thread], step: Callable[[threading.Thread], None]) -> None:
    for thread in threads:
        step(thread)
