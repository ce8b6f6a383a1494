"""Network streams from servers that people run: Icecast with a source, and GStreamer's RTSP server.

`make acceptance PART=integrations` runs it, since it needs Debian's packages `icecast2`,
`gir1.2-gst-rtsp-server-1.0`, `python3-gi` and `gstreamer1.0-plugins-good`.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
from live import Message, Streams, is_live, is_status
from running import SOON_S, SUPPORT, Daemon, free_port
from stations import PASSWORD, USER, encode

from tinyast import Classifier

STEADY = "-36"  # ESC-50's number of a vacuum cleaner, which sounds alike in every window
RATE = 44_100
PHASES = 10  # of the clip, at which a window may begin
WITHIN = {"camera": 0.002, "radio": 0.03}  # of a score: rounding; MP3 with 128 kbit/s
ICECAST = """<icecast>
<limits><sources>2</sources><clients>20</clients></limits>
<authentication><source-password>{password}</source-password>
<admin-user>admin</admin-user><admin-password>{password}</admin-password></authentication>
<hostname>localhost</hostname>
<listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
<paths><basedir>/usr/share/icecast2</basedir><logdir>{folder}</logdir>
<webroot>/usr/share/icecast2/web</webroot><adminroot>/usr/share/icecast2/admin</adminroot></paths>
<logging><accesslog>-</accesslog><errorlog>-</errorlog></logging>
<security><chroot>0</chroot>{owner}</security>
</icecast>
"""
OWNER = "<changeowner><user>nobody</user><group>nogroup</group></changeowner>"


@dataclass
class Server:
    """Processes that together are a server; they can be killed and started again."""

    commands: list[list[str]]
    port: int
    log: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        for command in self.commands:
            with self.log.open("ab") as log:
                self.running.append(subprocess.Popen(command, stdout=log, stderr=log))
            wait_for(lambda: is_taken(self.port), "listening", self.log)

    def kill(self) -> None:
        for each in reversed(self.running):
            each.kill()
            each.wait()
        self.running.clear()


def is_taken(port: int) -> bool:
    """Whether a process listens there, by the kernel's table: a connection would disturb it."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(row.split()[1].endswith(f":{port:04X}") and row.split()[3] == "0A" for row in rows)


def wait_for(true: Callable[[], bool], what: str, log: Path) -> None:
    deadline = time.monotonic() + SOON_S
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not {what}: {log.read_text()[-2000:]}")
        time.sleep(0.05)


def icecast(base: Path, clip: Path) -> Server:
    port, folder = free_port(), base / "icecast"
    folder.mkdir()
    owner = ""
    if os.geteuid() == 0:  # it refuses to stay root
        owner = OWNER
    config = folder / "icecast.xml"
    config.write_text(ICECAST.format(password=PASSWORD, port=port, folder=folder, owner=owner))
    to = f"icecast://source:{PASSWORD}@127.0.0.1:{port}/live.mp3"
    source = ["ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(clip), "-b:a", "128k"]
    source += ["-content_type", "audio/mpeg", "-f", "mp3", to]
    return Server([["icecast2", "-c", str(config)], source], port, base / "icecast.log")


def camera(base: Path, clip: Path) -> Server:
    port = free_port()
    sound = encode(clip, base / "long.wav", "-c:a", "pcm_s16le", seconds=600)
    script = str(SUPPORT / "servers" / "gst_rtsp.py")
    line = ["/usr/bin/python3", script, str(port), str(sound), USER, PASSWORD]
    return Server([line], port, base / "camera.log")


@dataclass(kw_only=True)
class Listening(Streams):
    """A daemon on both streams, and their servers."""

    WAIT_S = 90.0
    servers: dict[str, Server]
    label: str
    least: dict[str, float]  # score of each label, over the phases of the clip
    most: dict[str, float]


@pytest.fixture(scope="module")
def listening(
    originals: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Listening]:
    clip = next(path for path in originals if path.stem.endswith(STEADY))
    samples, rate = soundfile.read(clip, dtype="int16")
    assert rate == RATE
    model = Classifier.load()
    heard = [
        dict(model.predict(np.roll(samples, -n * len(samples) // PHASES), rate)[0].top(50))
        for n in range(PHASES)
    ]
    least = {label: min(each[label] for each in heard) for label in heard[0]}
    most = {label: max(each[label] for each in heard) for label in heard[0]}
    base = tmp_path_factory.mktemp("servers")
    servers = {"radio": icecast(base, clip), "camera": camera(base, clip)}
    urls = {
        "radio": f"http://127.0.0.1:{servers['radio'].port}/live.mp3",
        "camera": f"rtsp://{USER}:{PASSWORD}@127.0.0.1:{servers['camera'].port}/audio",
    }
    config = base / "tinyast.toml"
    tables = [f'[[stream]]\nname = "{name}"\nurl = "{url}"\n' for name, url in urls.items()]
    config.write_text("folder = []\ntop = 50\n" + "".join(tables))
    config.chmod(0o600)
    with ExitStack() as stack:
        for server in servers.values():
            stack.callback(server.kill)
            server.start()
        daemon = Daemon(base, "--config", str(config))
        stack.callback(daemon.clean_up)
        daemon.start()
        client = stack.enter_context(daemon.client(0))
        label = max(most, key=lambda each: most[each])
        yield Listening(
            daemon=daemon, client=client, servers=servers, label=label, least=least, most=most
        )


def whole(message: Message) -> bool:
    return is_live(message) and message["window"]["padded_s"] == 0


@pytest.mark.parametrize("name", WITHIN)
def test_it_is_classified_as_the_file_that_it_plays(listening: Listening, name: str) -> None:
    """Windows may begin anywhere in the clip, which is played over and over."""
    first = listening.wait_for(name, whole)
    windows = [first, listening.wait_for(name, whole, listening.said.index(first) + 1)]
    for window in windows:
        assert window["label"] == listening.label
        over = [
            max(listening.least[i["label"]] - i["score"], i["score"] - listening.most[i["label"]])
            for i in window["top"]
        ]
        print(f"{name}: at most {max(over):.4f} outside of the scores of the file")
        assert max(over) < WITHIN[name]


@pytest.mark.parametrize("name", WITHIN)
def test_a_restart_of_the_server_is_survived_and_its_gap_told(
    listening: Listening, name: str
) -> None:
    listening.wait_for(name, whole)
    after = len(listening.said)
    listening.servers[name].kill()
    lost = listening.wait_for(name, is_status("source_lost"), after)
    assert lost["code"] == "stopped"
    listening.servers[name].start()
    back = listening.wait_for(name, is_status("source_back"), after)
    gap = listening.wait_for(name, lambda m: m["type"] == "gap", after)
    assert gap["reason"] == "source_lost"
    assert gap["frames"] == pytest.approx(gap["duration_s"] * RATE, abs=RATE / 100)
    print(f"{name}: gap of {gap['duration_s']:.1f} s")
    again = listening.wait_for(name, whole, listening.said.index(back))
    assert again["label"] == listening.label
    text = listening.daemon.log.read_text() + str(listening.said)
    assert PASSWORD not in text
