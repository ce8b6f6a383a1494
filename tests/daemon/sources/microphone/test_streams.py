"""Network streams: real servers, a real ffmpeg, a real daemon."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from live import Message, Streams, is_live, is_status
from running import SOON_S, Daemon, free_port
from stations import (
    PASSWORD,
    TOKEN,
    USER,
    Station,
    camera,
    encode,
    endless,
    raw_over_tcp,
    raw_over_udp,
)

from daemon.commands.doctor import check_live
from daemon.settings.schema import Stream
from daemon.sources.microphone.devices import record
from daemon.sources.microphone.ffmpeg_input import OPEN_S, STALL_S
from tinyast import Classifier

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")

STEADY = "-36"  # ESC-50's number of a vacuum cleaner, which sounds alike in every window
RATE = 44_100
SOUNDING = ("radio", "hls", "tcp", "udp")
CODEC = 0.02  # of a score, for MP3 and AAC with 128 kbit/s


@dataclass(kw_only=True)
class Listening(Streams):
    """A daemon on many streams."""

    station: Station
    urls: dict[str, str]
    label: str  # of the sound as a file
    scores: dict[str, float]


def table(name: str, url: str, *more: str) -> str:
    return "\n".join(["[[stream]]", f'name = "{name}"', f'url = "{url}"', *more, ""])


@pytest.fixture(scope="module")
def listening(
    originals: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Listening]:
    clip = next(path for path in originals if path.stem.endswith(STEADY))
    samples, rate = soundfile.read(clip, dtype="int16")
    assert rate == RATE
    as_file = Classifier.load().predict(samples, rate)[0]
    scores = dict(as_file.top(50))
    base = tmp_path_factory.mktemp("streams")
    encode(clip, base / "live.mp3", "-b:a", "128k", seconds=20)
    encode(clip, base / "hls.m3u8", "-c:a", "aac", "-f", "hls", "-hls_time", "2",
           "-hls_list_size", "0", seconds=120)  # fmt: skip
    raw = "rate = 44100"
    with ExitStack() as stack:
        station, files = Station(base), Station(base)
        stack.callback(files.end)
        mute = stack.enter_context(socket.create_server(("127.0.0.1", 0)))  # accepts no client
        tcp = stack.enter_context(raw_over_tcp(samples.tobytes(), 2 * RATE))
        udp = free_port()
        stack.enter_context(raw_over_udp(samples.tobytes(), 2 * RATE, udp))
        at = f"127.0.0.1:{station.port}"
        urls = {
            "radio": f"http://{USER}:{PASSWORD}@{at}/live.mp3?key={TOKEN}",
            "hls": f"http://127.0.0.1:{files.port}/hls.m3u8",
            "tcp": f"tcp://127.0.0.1:{tcp}",
            "udp": f"udp://127.0.0.1:{udp}",
            "mute": f"http://127.0.0.1:{mute.getsockname()[1]}/",
            "stranger": f"http://{USER}:wrong-{PASSWORD}@{at}/live.mp3?key={TOKEN}",
            "nowhere": f"rtsp://{USER}:{PASSWORD}@127.0.0.1:{free_port()}/{TOKEN}",
        }
        config = base / "tinyast.toml"
        tables = [table(n, u, *[raw] * (n in ("tcp", "udp"))) for n, u in urls.items()]
        config.write_text("folder = []\ntop = 50\n" + "".join(tables))
        config.chmod(0o600)
        daemon = Daemon(base, "--config", str(config))
        stack.callback(daemon.clean_up)
        daemon.start()
        client = stack.enter_context(daemon.client(0))
        heard = Listening(
            daemon=daemon, client=client, station=station, urls=urls, label=as_file.label,
            scores=scores,
        )  # fmt: skip
        yield heard
        heard.station.end()


def whole_windows(m: Message) -> bool:
    """Whether a window begins with the clip."""
    return is_live(m) and m["window"]["padded_s"] == 0 and m["window"]["index"] % 2 == 0


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def processes(daemon: Daemon) -> dict[int, bytes]:
    """Command lines of the daemon and of all processes below it."""
    found: dict[int, bytes] = {}
    waiting = [daemon.process.pid]
    while waiting:
        pid = waiting.pop()
        try:
            found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes()
            waiting += children(pid)
        except FileNotFoundError:
            continue
    return found


def ffmpegs(daemon: Daemon, word: str = "") -> list[int]:
    lines = processes(daemon).items()
    return [pid for pid, line in lines if b"ffmpeg\0" in line and word.encode() in line]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("name", SOUNDING)
def test_a_stream_is_classified_as_the_file_that_it_plays(listening: Listening, name: str) -> None:
    heard = listening.wait_for(name, whole_windows)
    assert heard["label"] == listening.label
    assert heard["source"] == {"kind": "mic", "name": name, "path": None}
    assert heard["window"]["clock"] == "capture"
    apart = max(abs(i["score"] - listening.scores[i["label"]]) for i in heard["top"])
    print(f"{name}: scores of 50 labels are {apart:.1e} apart at most")
    if name == "tcp":
        assert apart < 1e-3
    elif name != "udp":  # which begins anywhere in the clip
        assert apart < CODEC


def test_no_secret_is_seen_anywhere(listening: Listening) -> None:
    lost = listening.wait_for("stranger", is_status("source_lost"))
    assert lost["code"] == "cannot_open"
    assert "401" in lost["text"]
    assert listening.wait_for("nowhere", is_status("source_lost"))["code"] == "cannot_open"
    listening.wait_for("radio", is_live)
    lines = b"\n".join(processes(listening.daemon).values())
    assert lines.count(b"stream_capture") >= len(SOUNDING)
    status = listening.daemon.status()
    shown = {source["name"]: source["device"] for source in status["sources"]}
    assert shown["radio"] == f"http://127.0.0.1:{listening.station.port}/…"
    assert shown["nowhere"].startswith("rtsp://127.0.0.1:")
    texts = (str(status), str(listening.said), listening.daemon.log.read_text(), repr(lines))
    for secret in (USER, PASSWORD, TOKEN):
        for text in texts:
            assert secret not in text


def test_what_breaks_is_heard_again_and_its_gap_told(listening: Listening) -> None:
    """A server that is restarted, and at the same time an ffmpeg that hangs."""
    listening.wait_for("radio", is_live)
    listening.wait_for("tcp", is_live)
    after, station = len(listening.said), listening.station
    (hung,) = ffmpegs(listening.daemon, listening.urls["tcp"])
    os.kill(hung, signal.SIGSTOP)
    station.end()
    assert listening.wait_for("radio", is_status("source_lost"), after)["code"] == "stopped"
    listening.station = Station(station.root, station.port)
    assert listening.wait_for("tcp", is_status("source_lost"), after)["code"] == "stalled"
    for name in ("radio", "tcp"):
        back = listening.wait_for(name, is_status("source_back"), after)
        gap = listening.wait_for(name, lambda m: m["type"] == "gap", after)
        assert gap["reason"] == "source_lost"
        assert gap["frames"] == pytest.approx(gap["duration_s"] * RATE, abs=RATE / 100)
        print(f"{name}: gap of {gap['duration_s']:.1f} s")
        again = listening.wait_for(name, is_live, listening.said.index(back))
        assert again["label"] == listening.label
    assert gap["duration_s"] > STALL_S - 1
    assert gone(hung)
    gaps = [m for m in listening.said if m["type"] == "gap" and m["source"]["name"] == "hls"]
    assert not gaps


def test_a_mute_server_counts_as_lost(listening: Listening) -> None:
    lost = listening.wait_for("mute", is_status("source_lost"))
    assert lost["code"] == "stalled"
    assert lost["text"] == f"no sound came for {OPEN_S:g} s; the server or ffmpeg hangs"


def test_doctor_listens_to_a_stream(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    good = check_live(Stream(name="tcp", url=listening.urls["tcp"], rate=RATE))
    assert (good.name, good.state) == ("stream tcp", "ok")
    assert f"at {RATE} Hz" in good.text
    port = listening.station.port
    missing = check_live(Stream(name="a", url=f"http://{USER}:{PASSWORD}@127.0.0.1:{port}/none"))
    assert missing.state == "fail"
    assert "404" in missing.text
    assert PASSWORD not in missing.text
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "ffmpeg is missing; install it" in check_live(Stream(url="rtsp://127.0.0.1/")).text


def test_a_camera_is_asked_for_its_sound_alone(originals: list[Path]) -> None:
    clip = next(path for path in originals if path.stem.endswith(STEADY))
    samples, _ = soundfile.read(clip, dtype="int16")
    with camera(samples.astype(">i2").tobytes(), RATE) as (port, asked):
        url = f"rtsp://{USER}:{PASSWORD}@127.0.0.1:{port}/{TOKEN}"
        heard = record(Stream(url=url), 5.0)
    assert (heard.device, heard.rate) == (f"rtsp://127.0.0.1:{port}/…", RATE)
    assert [line.split()[1] for line in asked if line.startswith("SETUP")] == [
        f"rtsp://127.0.0.1:{port}/{TOKEN}/sound"
    ]
    assert np.array_equal(heard.samples[: len(samples)] * 32768, samples[: len(heard.samples)])


@pytest.mark.parametrize(
    ("name", "words"),
    [("radio.pls", "use the address of the stream in it"), ("login", "answers with no sound")],
)
def test_an_answer_that_is_no_sound_is_explained(tmp_path: Path, name: str, words: str) -> None:
    text = "[playlist]\nFile1=http://127.0.0.1/live.mp3\n" if name == "radio.pls" else "<html>"
    (tmp_path / name).write_text(text)
    station = Station(tmp_path)
    try:
        told = check_live(Stream(url=f"http://127.0.0.1:{station.port}/{name}")).text
    finally:
        station.end()
    assert words in told


def flac_pictures() -> tuple[bytes, bytes]:
    """The head of a FLAC file, and a picture of 16 MB, of which it may have any number."""
    rate = (RATE << 44 | 1 << 41 | 15 << 36).to_bytes(8, "big")  # mono, 16 bits
    head = b"fLaC\0\0\0\x22" + struct.pack(">HH", 4096, 4096) + bytes(6) + rate + bytes(16)
    size = (1 << 24) - 1
    about = struct.pack(">II9sIIIIII", 3, 9, b"image/png", 0, 1, 1, 1, 0, size - 41)
    picture = (b"\x89PNG\r\n\x1a\n" + bytes(size))[: size - len(about)]
    return head, b"\x06" + size.to_bytes(3, "big") + about + picture


def test_a_server_that_sends_pictures_without_end_takes_no_endless_memory() -> None:
    with endless(*flac_pictures()) as url:
        told = check_live(Stream(url=url)).text
    assert "Cannot allocate memory" in told


@pytest.mark.parametrize("rate", [1, 2_147_483_647])
def test_a_rate_that_no_recorder_uses_is_refused(rate: int) -> None:
    sound = struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate % 2**32, 2, 16)
    head = b"RIFF\xff\xff\xff\xffWAVEfmt " + sound + b"data\xff\xff\xff\xff"
    with endless(head, bytes(1 << 16)) as url:
        told = check_live(Stream(url=url)).text
    assert f"its rate is {rate} Hz; from 4000 to 384000 Hz is accepted" in told


def test_a_killed_daemon_leaves_no_process(listening: Listening) -> None:
    """The last test: it ends the daemon that they share."""
    listening.wait_for("hls", is_live)
    below = set(processes(listening.daemon)) - {listening.daemon.process.pid}
    assert len(ffmpegs(listening.daemon)) >= 3
    listening.daemon.kill()
    deadline = time.monotonic() + SOON_S
    while left := [pid for pid in below if not gone(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)
