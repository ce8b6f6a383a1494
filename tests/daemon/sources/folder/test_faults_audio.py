"""Bad audio dropped into the folder of a real daemon: each file fails by its code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from running import Daemon, of_type, stress
from sounds import header, noise, short_wav, wav_bytes, write_wav

from daemon.journal.reader import JournalReader

MB = 1_000_000

CONFIG = """
{top}
[[folder]]
path = "{base}/in"
name = "in"
settle = 0.5

[[folder]]
path = "{base}/any"
name = "any"
settle = 0.5
suffixes = [".wav", ".flac", ".ogg", ".mp3", ".m4a"]
formats = ["wav", "flac", "ogg", "mp3"{ffmpeg}]

[[folder]]
path = "{base}/second"
name = "second"
settle = 0.5
channel = 2
"""


CONFINED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] * (os.geteuid() == 0)


class Confined(Daemon):
    """A daemon without root's power to read all files."""

    def command(self) -> list[str]:
        return [*CONFINED, *super().command()]


def configured(base: Path, top: str = "", kind: type[Daemon] = Daemon) -> Daemon:
    (base / "any").mkdir()
    (base / "second").mkdir()
    config = base / "tinyast.toml"
    ffmpeg = ', "m4a"' if shutil.which("ffmpeg") else ""
    config.write_text(CONFIG.format(base=base, top=top, ffmpeg=ffmpeg))
    return kind(base, "--config", str(config))


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all bad files: that it outlives each of them is part of the test."""
    one = configured(tmp_path_factory.mktemp("daemon")).start()
    yield one
    one.clean_up()


def about(listening: Daemon, path: Path) -> list[dict[str, Any]]:
    """Everything said of a file up to its end state."""
    name = str(path)
    heard = listening.hear(
        lambda r: any(m["source"]["path"] == name for m in of_type(r[-1:], "file"))
    )
    messages = [r.message for r in heard if r.message["source"]]
    return [m for m in messages if m["source"]["path"] == name]


def end_of(listening: Daemon, path: Path) -> dict[str, Any]:
    return about(listening, path)[-1]


def assert_failed(listening: Daemon, path: Path, code: str) -> dict[str, Any]:
    end = end_of(listening, path)
    assert (end["state"], end["windows"]) == ("failed", 0)
    assert end["error"]["code"] == code
    assert end["error"]["text"]
    return end


def assert_clean(listening: Daemon) -> None:
    """Only log lines on its standard error, without a warning."""
    assert listening.process.poll() is None
    assert all(line.startswith("{") for line in listening.log.read_text().splitlines())
    assert not [line for line in listening.logged() if line["level"] in ("warning", "error")]


# -- claims of a file ----------------------------------------------------------------------------


def pcm16(count: int) -> bytes:
    return (noise(count / 16_000) * 32_767).astype("<i2").tobytes()


def floats(samples: Any, rate: int = 16_000) -> bytes:
    data = np.asarray(samples, "<f4").tobytes()
    return header(len(data), rate, bits=32, encoding=3) + data


def with_sample(value: float, at: int = 1_000) -> bytes:
    samples = noise(1)
    samples[at] = value
    return floats(samples)


BAD: dict[str, tuple[bytes, str]] = {
    "text": (b"no sound at all\n" * 100, "not_audio"),
    "empty": (b"", "too_short"),
    "cut header": (header(1_000)[:30], "too_short"),
    "no format": (header(1_000)[:12] + header(1_000)[36:] + pcm16(500), "bad_header"),
    "1 Hz": (header(20_000, rate=1) + pcm16(10_000), "bad_rate"),
    "2 GHz": (header(20_000, rate=2_000_000_000) + pcm16(10_000), "bad_rate"),
    "NaN": (with_sample(float("nan")), "not_finite"),
    "Inf": (with_sample(float("inf")), "not_finite"),
    "-Inf": (with_sample(float("-inf")), "not_finite"),
    "1e37": (with_sample(1e37), "out_of_range"),
    "no frames": (header(0), "too_short"),
    "one frame": (header(2) + b"\1\0", "too_short"),
    "7 bits": (header(20_000, bits=7) + pcm16(10_000), "unsupported_encoding"),
    "16-bit mu-law": (header(20_000, encoding=7) + pcm16(10_000), "unsupported_encoding"),
    "65 channels": (header(130 * 100, channels=65) + pcm16(6_500), "bad_channels"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_fails_by_its_code_and_the_daemon_goes_on(listening: Daemon, what: str) -> None:
    data, code = BAD[what]
    path = listening.folder / f"{what.replace(' ', '_')}.wav"
    path.write_bytes(data)
    assert_failed(listening, path, code)
    good = listening.folder / f"after_{path.name}"
    good.write_bytes(short_wav())
    assert end_of(listening, good)["state"] == "done"
    assert_clean(listening)


def test_samples_that_turn_bad_midway_end_a_file_after_its_good_windows(listening: Daemon) -> None:
    path = listening.folder / "midway.wav"
    samples = noise(15)
    samples[12 * 16_000] = float("nan")
    path.write_bytes(floats(samples))
    *predictions, end = about(listening, path)
    assert [m["window"]["index"] for m in predictions] == [0, 1]
    assert (end["state"], end["windows"], end["error"]["code"]) == ("failed", 2, "not_finite")
    assert end["duration_s"] == 15


@pytest.mark.parametrize("kind", ["flac", "ogg", "mp3"])
def test_another_format_is_taken_where_it_is_allowed_and_refused_where_not(
    listening: Daemon, kind: str
) -> None:
    subtype = {"flac": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}[kind]
    data = wav_bytes(noise(2, 44_100), 44_100, subtype, kind.upper())
    for name in (f"{kind}.wav", f"true.{kind}"):
        (listening.base / "any" / name).write_bytes(data)
        assert end_of(listening, listening.base / "any" / name)["state"] == "done"
    path = listening.folder / f"{kind}.wav"
    path.write_bytes(data)
    end = assert_failed(listening, path, "format_not_allowed")
    assert kind.upper() in end["error"]["text"]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_mpeg_4_audio_is_decoded_by_ffmpeg_where_it_is_allowed(listening: Daemon) -> None:
    encoded = listening.base / "a.m4a"
    command = ["ffmpeg", "-v", "error", "-f", "wav", "-i", "pipe:0", str(encoded)]
    subprocess.run(command, input=wav_bytes(noise(12, 44_100), 44_100), check=True)
    for name, content in (("whole.m4a", encoded.read_bytes()), ("cut.m4a", b"\0\0\0\x20ftypM4A ")):
        (listening.base / "any" / name).write_bytes(content)
    *predictions, end = about(listening, listening.base / "any" / "whole.m4a")
    assert (end["state"], end["sample_rate"]) == ("done", 44_100)
    assert [m["window"]["start_s"] for m in predictions[:2]] == [0, 5]
    assert_failed(listening, listening.base / "any" / "cut.m4a", "decode_error")
    path = listening.folder / "a.wav"
    path.write_bytes(encoded.read_bytes())
    end = assert_failed(listening, path, "format_not_allowed")
    assert "install ffmpeg and add m4a to formats" in end["error"]["text"]


def test_the_channel_of_the_settings_is_the_one_that_is_heard(listening: Daemon) -> None:
    frames = np.stack([noise(5), np.zeros(80_000, np.float32)], axis=1)
    path = listening.base / "second" / "silent.wav"
    path.write_bytes(wav_bytes(frames))
    prediction, end = about(listening, path)
    assert (prediction["reason"], prediction["rms_dbfs"]) == ("silence", -200)
    assert end["state"] == "done"
    path = listening.base / "second" / "mono.wav"
    path.write_bytes(short_wav())
    assert_failed(listening, path, "bad_channels")


def test_wav_under_the_name_of_another_format_is_wav(listening: Daemon) -> None:
    path = listening.base / "any" / "wav_inside.flac"
    path.write_bytes(short_wav())
    assert end_of(listening, path)["state"] == "done"


# -- answers of the system -----------------------------------------------------------------------


@pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which("setpriv") is None,
    reason="root reads everything, and there is no setpriv to take that away",
)
def test_a_file_that_may_not_be_read_fails_with_one_text_in_each_command(tmp_path: Path) -> None:
    one = configured(tmp_path, kind=Confined)
    try:
        if CONFINED and subprocess.run([*CONFINED, "true"]).returncode:
            pytest.skip("this system does not let root give up a capability")
        one.start()
        path = tmp_path / "secret.wav"
        path.write_bytes(short_wav())
        path.chmod(0)
        path.rename(one.folder / "secret.wav")
        end = assert_failed(one, one.folder / "secret.wav", "permission_denied")
        permission = f"{os.strerror(13)}; the user that runs tinyastd needs permission to read it"
        assert end["error"]["text"] == permission
        classify = [*CONFINED, sys.executable, "-m", "daemon", "classify", "--format", "jsonl"]
        said = subprocess.run([*classify, one.folder / "secret.wav"], capture_output=True)
        assert json.loads(said.stdout)["error"] == end["error"]
    finally:
        one.clean_up()


def test_a_file_gone_before_it_is_read_is_no_error(listening: Daemon) -> None:
    listening.send(signal.SIGSTOP)
    path = listening.folder / "gone.wav"
    path.write_bytes(short_wav())
    path.unlink()
    listening.send(signal.SIGCONT)
    marker = listening.folder / "marker.wav"
    marker.write_bytes(short_wav())
    said = [m for m in listening.quiet(marker) if (m["source"] or {}).get("path") == str(path)]
    assert said == []
    assert_clean(listening)


@pytest.mark.parametrize("seconds", [10.0**14, -(10.0**14)])
def test_a_time_of_change_that_nobody_means_is_no_fault(seconds: float) -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        pytest.skip("no file system here that holds such a time")
    with tempfile.TemporaryDirectory(dir=memory) as base:
        one = Daemon(Path(base))
        try:
            one.start()
            path = Path(base) / "odd"
            path.write_bytes(short_wav())
            os.utime(path, (seconds, seconds))
            path.rename(one.folder / "odd.wav")
            assert one.ends(1)[0]["state"] == "done"
            assert one.stop() == 0
        finally:
            one.clean_up()


# -- memory that a file asks for -----------------------------------------------------------------


def test_wide_and_fast_recordings_are_decoded_a_little_at_a_time(listening: Daemon) -> None:
    small = listening.folder / "small.wav"
    write_wav(small)
    end_of(listening, small)
    before = listening.peak_memory()
    frames = 2 * 384_000
    path = listening.base / "wide.wav"
    size = frames * 64 * 8
    path.write_bytes(header(size, 384_000, channels=64, bits=64, encoding=3))
    os.truncate(path, 44 + size)  # 393 MB of zeros that take no room
    path.rename(listening.folder / "wide.wav")
    assert end_of(listening, listening.folder / "wide.wav")["state"] == "done"
    assert listening.peak_memory() - before < 50 * MB


def test_a_huge_file_that_is_no_sound_holds_nobody_up(tmp_path: Path) -> None:
    one = Daemon(tmp_path, "--workers", "1")
    try:
        one.start()
        huge = tmp_path / "huge"
        huge.touch()
        os.truncate(huge, 200_000_000_000)  # takes no room, and minutes to read
        huge.rename(one.folder / "huge.wav")
        one.wait_for(lambda: one.status()["backlog"]["files"], "noticed")
        live = one.folder / "live.wav"
        live.write_bytes(short_wav())
        assert one.ends(1)[0]["source"]["path"] == str(live)
        assert one.stop() == 0
    finally:
        one.clean_up()


def test_a_large_file_of_which_nothing_but_the_mode_changed_is_not_told_of_again(
    tmp_path: Path,
) -> None:
    one = Daemon(tmp_path)
    try:
        one.start()
        size = 30_000_000  # more than is digested in one step
        path = tmp_path / "large"
        path.write_bytes(header(size, 384_000) + bytes(size))
        path = path.rename(one.folder / "large.wav")
        assert one.ends(1)[0]["state"] == "done"
        one.stop()
        path.chmod(0o640)
        one.start()
        with closing(JournalReader(one.state)) as ledger:

            def noted() -> bool:
                row = ledger.row(os.fsencode(path))
                return row is not None and row.identity.ctime_ns == path.stat().st_ctime_ns

            one.wait_for(noted, "compared")
        marker = one.folder / "marker.wav"
        marker.write_bytes(short_wav())
        ends = [m for m in one.quiet(marker) if m["type"] == "file"]
        assert [m["source"]["path"] for m in ends] == [str(path), str(marker)]
    finally:
        one.clean_up()


def bomb(path: Path, seconds: int) -> Path:
    """Zeros in FLAC: a few bytes for a megabyte of samples."""
    with soundfile.SoundFile(path, "w", 48_000, 1, "PCM_16", format="FLAC") as file:
        for _ in range(seconds):
            file.write(np.zeros(48_000, np.int16))
    return path


def test_flac_that_swells_is_streamed_in_flat_memory(listening: Daemon) -> None:
    small = bomb(listening.base / "any" / "small.flac", 5)
    assert end_of(listening, small)["state"] == "done"
    before = listening.peak_memory()
    seconds = stress(8_400, least=400)  # in full: 807 MB of samples
    path = bomb(listening.base / "swell", seconds)
    assert path.stat().st_size < seconds * 48_000 * 2 / 100
    path.rename(listening.base / "any" / "bomb.flac")
    end = end_of(listening, listening.base / "any" / "bomb.flac")
    assert (end["state"], end["windows"]) == ("done", seconds // 5)
    assert listening.peak_memory() - before < 50 * MB


def test_a_recording_longer_than_the_setting_allows_is_refused(tmp_path: Path) -> None:
    one = configured(tmp_path, "audio = { max_duration = 60.0 }")
    try:
        one.start()
        for folder, name, data in (
            ("any", "long.flac", bomb(tmp_path / "a", 61).read_bytes()),
            ("in", "long.wav", header(61 * 32_000) + bytes(61 * 32_000)),
        ):
            path = tmp_path / folder / name
            path.write_bytes(data)
            assert_failed(one, path, "too_long")
        path = tmp_path / "in" / "enough.wav"
        path.write_bytes(header(60 * 32_000) + bytes(60 * 32_000))
        assert end_of(one, path)["state"] == "done"
    finally:
        one.clean_up()


def long_recording(path: Path, seconds: int) -> Path:
    """A second of noise and a long silence, sparse on disk, as one whole WAV file."""
    size = seconds * 44_100 * 2
    path.write_bytes(header(size, 44_100) + wav_bytes(noise(1, 44_100), 44_100)[44:])
    os.truncate(path, 44 + size)
    return path


@pytest.mark.timeout(1_200)
def test_ten_hours_take_no_more_memory_than_five_seconds_and_hold_nobody_up(
    tmp_path: Path,
) -> None:
    one = Daemon(tmp_path, "--workers", "1")
    try:
        one.start()
        write_wav(one.folder / "short.wav", 5, 44_100)
        one.ends(1)
        before = one.peak_memory()
        windows = stress(7_200, least=300)
        long = one.folder / "long.wav"
        long_recording(tmp_path / "long", windows * 5).rename(long)
        live, heard, reached = 0, 0, 0
        with one.client(0) as client:
            while True:
                received = client.receive(60)
                assert received is not None, one.tail()
                message = received.message
                if message["type"] == "status":
                    continue
                is_long = message["source"]["path"] == str(long)
                if message["type"] == "prediction":
                    heard += is_long
                    if is_long and heard == 1:
                        write_wav(one.folder / f"live{live}.wav", 1, seed=live)
                    continue
                if is_long:
                    break
                if message["source"]["path"] == str(one.folder / f"live{live}.wav"):
                    live += 1
                    reached = heard
                    if live < 5:
                        write_wav(one.folder / f"live{live}.wav", 1, seed=live)
        assert (message["state"], message["windows"]) == ("done", windows)
        assert message["duration_s"] == windows * 5
        assert live == 5
        assert reached < windows
        assert one.peak_memory() - before < 50 * MB
    finally:
        one.clean_up()


# -- whose code touches strangers' bytes ---------------------------------------------------------


def test_only_our_own_decoder_touches_files_unless_settings_ask_for_more(tmp_path: Path) -> None:
    # Decoders in C have had memory bugs (CVE-2021-3246, CVE-2022-33064); PCM needs no decoder.
    one = Daemon(tmp_path)
    try:
        one.start()
        write_wav(one.folder / "a.wav")
        (one.folder / "b.wav").write_bytes(wav_bytes(noise(1), subtype="PCM_16", format="FLAC"))
        (one.folder / "c.wav").write_bytes(b"RIFF" + struct.pack("<I", 4) + b"WAVE")
        assert {e["state"] for e in one.ends(2)} == {"done", "failed"}
        maps = Path(f"/proc/{one.process.pid}/maps").read_text()
        assert "onnxruntime" in maps
        assert "sndfile" not in maps
    finally:
        one.clean_up()
