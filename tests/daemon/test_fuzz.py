"""Fuzzing: audio headers, requests, settings files, and bytes to a client or an endpoint."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from fuzzing import FUZZ_S, fuzz, read_windows, resident
from hypothesis import strategies as st
from saying import Station, predictions

from daemon import client as client_module
from daemon.client import Client
from daemon.errors import SettingsError
from daemon.protocol.decoding import Refused
from daemon.settings.explaining import TABLES
from daemon.settings.loading import load
from daemon.sources.folder.readiness import Evidence, Growing, Whole, look

# Only what never comes has failed: an hour of fuzzing runs beside other work, and may have to wait.
PATIENCE_S = 120
pytestmark = pytest.mark.timeout(FUZZ_S + 5 * PATIENCE_S)

EXTREMES = st.sampled_from([0, 1, 2, 7, 8, 16, 0x7FFF, 0xFFFE, 0xFFFF, 2**31, 2**32 - 1])
WORDS = EXTREMES | st.integers(0, 2**32 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=12,
)


# -- audio headers -------------------------------------------------------------------------------


def field(code: str, *likely: int) -> st.SearchStrategy[bytes]:
    """A number of a header: mostly one that makes sense."""
    some = st.sampled_from(likely)
    return st.one_of(some, some, some, WORDS).map(
        lambda value: struct.pack(f"<{code}", value % 2 ** (8 * struct.calcsize(code)))
    )


FORMAT = st.tuples(
    field("H", 1, 1, 3, 0xFFFE),
    field("H", 1, 2),
    field("I", 16_000, 44_100, 4_000, 384_000),
    field("I", 32_000),
    field("H", 2, 4),
    field("H", 16, 8, 24, 32),
    st.just(b"") | st.binary(max_size=30),
).map(b"".join)
TRUE_FORMAT = st.sampled_from(
    [(1, 1, 16), (1, 2, 24), (3, 1, 32), (1, 1, 8)]  # encoding, channels, bits
).map(
    lambda f: struct.pack(
        "<HHIIHH", f[0], f[1], 16_000, 2_000 * f[1] * f[2], f[1] * f[2] // 8, f[2]
    )
)
CHUNK = st.tuples(
    st.sampled_from([b"ds64", b"bext", b"LIST", b"fact", b"fmt ", b"\0\0\0\0"]),
    st.binary(max_size=60),
)


@st.composite
def recording(draw: st.DrawFn) -> bytes:
    """A RIFF file whose parts may each be right or wrong."""
    middle = draw(st.lists(CHUNK, max_size=2))
    data = (b"data", bytes(2 * draw(st.sampled_from([0, 1, 7, 4_000]))))
    chunks = [(b"fmt ", draw(TRUE_FORMAT | FORMAT)), *middle, data]
    if draw(st.integers(0, 5)) == 0:
        chunks = draw(st.permutations(chunks))[1:]
    parts = []
    for name, body in chunks:
        length = draw(WORDS) if draw(st.integers(0, 7)) == 0 else len(body)
        parts += [name, struct.pack("<I", length), body, b"\0" * (len(body) % 2)]
    magic = draw(st.sampled_from([b"RIFF"] * 6 + [b"RIFX", b"RF64", b"BW64", b"fLaC", b"ID3\x03"]))
    size = sum(map(len, parts)) + 4
    whole = magic + struct.pack("<I", draw(st.just(size) | WORDS)) + b"WAVE" + b"".join(parts)
    return whole[: draw(st.integers(0, 60))] if draw(st.integers(0, 7)) == 0 else whole


def test_audio_headers(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    ended = set()

    def check(data: bytes) -> None:
        path.write_bytes(data)
        assert isinstance(look(bytes(path), Evidence(closed=True)), Whole | Growing)
        ended.add(read_windows(path, None))

    fuzz(recording(), check)
    assert {"read", "not_audio"} <= ended, ended


# -- requests ------------------------------------------------------------------------------------

NAMES = st.sampled_from(["since", "limit", "topic", "status", "before"])


def encoded(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[bytes]:
    return strategy.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))


ASKED = st.fixed_dictionaries(
    {"since": st.integers(0, 30)},
    optional={"limit": st.integers(1, 9), "topic": st.sampled_from(["", "tinyast.v1.", "é"])},
)
REQUEST = st.one_of(
    encoded(ASKED),
    encoded(st.tuples(ASKED, st.dictionaries(NAMES, JSON, max_size=2)).map(lambda d: d[0] | d[1])),
    encoded(JSON),
    st.binary(max_size=200),
)


def test_replay_requests(tmp_path: Path) -> None:
    """Each is answered, with messages or with an error, whatever frames it has."""
    answers = {"error": 0, "page": 0}
    context = zmq.Context()
    with Station(tmp_path) as station, contextlib.closing(context.socket(zmq.DEALER)) as dealer:
        station.say(predictions(20))
        dealer.linger = 0
        dealer.connect(station.replay)

        def check(frames: list[bytes]) -> None:
            dealer.send_multipart(frames)
            assert dealer.poll(1000 * PATIENCE_S), "no answer"
            reply = dealer.recv_multipart()
            answer = json.loads(reply[1] if frames[0] == b"" else reply[0])
            assert isinstance(answer, dict)
            answers["error" if "error" in answer else "page"] += 1
            if "error" in answer:
                assert set(answer["error"]) == {"code", "text"}

        frames = (
            st.lists(REQUEST, min_size=1, max_size=3)
            | st.just([b""])
            | REQUEST.map(lambda r: [b"", r])
        )
        fuzz(REQUEST.map(lambda r: [r]) | frames, check)
    context.term()
    assert min(answers.values()) > 0


# -- settings ------------------------------------------------------------------------------------

SETTINGS = st.sampled_from(
    [name for table in TABLES.values() for name in table.__struct_fields__] + ["unknown"]
)
TOML_VALUE = st.one_of(
    st.text(max_size=20).map(lambda text: json.dumps(text)),
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(["true", "nan", "-inf", "1e400", "[]", "{}", "'('", '["wav"]', "1979-05-27"]),
    st.sampled_from(["0.5", "5", '"x"', '[{path = "x"}]', "{dog = 2}", "[[[[[]]]]]", "'\\0'"]),
)
LINE = st.one_of(
    st.tuples(SETTINGS, TOML_VALUE).map(" = ".join),
    SETTINGS.map("[{}]".format),
    SETTINGS.map("[[{}]]".format),
    st.tuples(SETTINGS, SETTINGS).map("[{0[0]}.{0[1]}]".format),
    st.text(max_size=20),
)


def test_settings_files(tmp_path: Path) -> None:
    """A file gives either settings or an error that names the mistake, in one line or two."""
    file = tmp_path / "tinyast.toml"
    read = {True: 0, False: 0}

    def check(text: bytes) -> None:
        file.write_bytes(text)
        try:
            load(file, environ={})
            read[True] += 1
        except SettingsError as error:
            read[False] += 1
            said = str(error)
        else:
            said = "settings"
        assert 0 < len(said) < 2_000

    lines = st.lists(LINE, max_size=6).map("\n".join)
    fuzz(lines.map(lambda text: text.encode("utf-8", "replace")) | st.binary(max_size=60), check)
    assert min(read.values()) > 0


# -- bytes to a client ---------------------------------------------------------------------------

KINDS = st.sampled_from(["prediction", "file", "event", "gap", "status", "heartbeat", "other"])
NUMBERS = st.integers(0, 30) | st.just(2**63 - 1) | JSON
MESSAGE = st.fixed_dictionaries(
    {"type": KINDS | JSON, "journal": st.sampled_from(["j", "k"]) | JSON},
    optional={
        "seq": NUMBERS,
        "prev": NUMBERS,
        "id": st.text(max_size=3) | JSON,
        "last": st.dictionaries(KINDS, NUMBERS, max_size=5) | JSON,
    },
)
HEAD = st.fixed_dictionaries(
    {},
    optional={
        "journal": st.sampled_from(["j", "k"]) | JSON,
        "next": NUMBERS,
        "oldest": NUMBERS,
        "newest": NUMBERS,
        "error": st.fixed_dictionaries({"code": st.text(), "text": st.text()}) | JSON,
    },
)


TOPIC = st.sampled_from(
    [b"tinyast.v1.prediction.x", b"tinyast.v1.heartbeat", b"tinyast.v1.file.\xff"]
)
LIVE = st.tuples(TOPIC, encoded(MESSAGE) | st.binary(max_size=40)).map(list)
LIVE |= st.lists(st.binary(max_size=20), max_size=2).map(lambda rest: [b"tinyast.v1.file.", *rest])
REPLY = st.tuples(
    encoded(HEAD | JSON) | st.binary(max_size=40),
    st.lists(LIVE | st.lists(st.binary()), max_size=3),
).map(lambda reply: [reply[0], *(frame for frames in reply[1] for frame in frames)])


class FalseDaemon:
    """Both endpoints, sending the given frames."""

    def __init__(self, base: Path) -> None:
        self.publish, self.replay = f"ipc://{base}/p", f"ipc://{base}/r"
        self._context = zmq.Context()
        self._pub, self._router = self._context.socket(zmq.PUB), self._context.socket(zmq.ROUTER)
        for each, endpoint in ((self._pub, self.publish), (self._router, self.replay)):
            each.linger = 0
            each.bind(endpoint)

    def say(self, frames: list[bytes]) -> None:
        self._pub.send_multipart(frames)

    def answer(self, frames: list[bytes]) -> bool:
        """Answer one request if there is one."""
        if not self._router.poll(0):
            return False
        address = self._router.recv_multipart()[0]
        self._router.send_multipart([address, *frames])
        return True

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def false_daemon(tmp_path: Path) -> Iterator[FalseDaemon]:
    made = FalseDaemon(tmp_path)
    yield made
    made.close()


def hears_again(client: Client, daemon: FalseDaemon, seq: int) -> bool:
    """Whether a client gets a true message from a daemon that works again."""
    head = {"journal": "true", "next": seq, "oldest": 1, "newest": seq}
    true = {"type": "file", "journal": "true", "seq": seq, "prev": 0, "id": str(seq)}
    message = [b"tinyast.v1.file.done", json.dumps(true).encode()]
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        daemon.say(message)
        daemon.answer([json.dumps(head).encode(), *message])
        try:
            received = client.receive(0.002)
        except Refused:
            continue
        if received is not None and received.message == true:
            return True
    return False


def test_what_a_client_hears(false_daemon: FalseDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """It raises only documented errors, does not hang, and hears later messages."""
    monkeypatch.setattr(client_module, "REPLY_S", 0.01)
    seqs = iter(range(1, 10**9))
    client = Client(false_daemon.publish, false_daemon.replay, since=0)

    def check(case: tuple[list[list[bytes]], list[list[bytes]]]) -> None:
        live, replies = case
        for frames in live:
            false_daemon.say(frames)
        for frames in [*replies, [b"{}"]]:
            false_daemon.answer(frames)
            with contextlib.suppress(Refused):
                began = time.monotonic()
                client.receive(0.001)
                assert time.monotonic() - began < PATIENCE_S, "it hangs"
        assert hears_again(client, false_daemon, next(seqs)), "it is deaf from then on"

    with client:
        fuzz(st.tuples(st.lists(LIVE, max_size=4), st.lists(REPLY, max_size=4)), check)
        assert client.malformed > 0


# -- bytes to an endpoint ------------------------------------------------------------------------

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB"
COMMAND = st.tuples(
    st.sampled_from([b"READY", b"SUBSCRIBE", b"CANCEL", b"PING", b"PONG", b"ERROR", b"HELLO"]),
    st.binary(max_size=60),
).map(lambda said: bytes([len(said[0])]) + said[0] + said[1])
FRAME = st.tuples(
    st.sampled_from([0, 1, 2, 3, 4, 6]) | st.integers(0, 255), COMMAND | st.binary(max_size=90)
).map(lambda said: bytes([said[0], len(said[1])]) + said[1])
WIRE = st.tuples(
    st.sampled_from(
        [b"", GREETING[:11], GREETING, GREETING + b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB"]
    )
    | st.binary(max_size=70),
    st.lists(FRAME, max_size=4),
).map(lambda parts: parts[0] + b"".join(parts[1]))


def test_what_endpoints_hear(tmp_path: Path) -> None:
    """Whatever bytes strangers send, who behaves is answered after."""
    context = zmq.Context()
    with Station(tmp_path) as station, contextlib.closing(context.socket(zmq.DEALER)) as dealer:
        dealer.linger = 0
        dealer.connect(station.replay)

        def check(said: bytes) -> None:
            for endpoint in (station.publish, station.replay):
                with socket.socket(socket.AF_UNIX) as stranger, contextlib.suppress(OSError):
                    stranger.connect(endpoint.removeprefix("ipc://"))
                    stranger.sendall(said)
            dealer.send(b'{"since": 0}')
            assert dealer.poll(1000 * PATIENCE_S), "no answer"
            assert "newest" in json.loads(dealer.recv_multipart()[0])

        fuzz(WIRE, check)
    context.term()


def test_who_comes_and_goes_leaves_nothing(tmp_path: Path) -> None:
    """By a protocol without a handshake, while the daemon is silent."""
    with Station(tmp_path) as station:
        grown = []  # an allocator grows in leaps, a leak each time
        for _ in range(5):
            before = resident()
            for _ in range(1_500):
                with socket.socket(socket.AF_UNIX) as stranger:
                    stranger.connect(station.publish.removeprefix("ipc://"))
                    with contextlib.suppress(OSError):
                        stranger.sendall(b"\x05strange" + bytes(30))
            grown.append(resident() - before)
        print([f"{size / 1e6:.1f} MB" for size in grown])
        assert min(grown) < 3e6
