"""Replay: its answers, and that no client can spoil it for the others."""

from __future__ import annotations

import json
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from running import Daemon
from saying import ends, fill, predictions, started
from sounds import short_wav

from daemon.client import Client, NoAnswer
from daemon.journal.reader import JournalReader, open_reader

MakeDaemon = Callable[..., Daemon]
LIMIT, MB = 1_000, 1_000_000
ANSWER_MS = 30_000


class Asker:
    """A client of replay in plain pyzmq."""

    def __init__(self, endpoint: str, kind: int = zmq.DEALER) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(kind)
        self._socket.linger = 0
        self._socket.connect(endpoint)

    def send(self, *frames: bytes) -> None:
        self._socket.send_multipart(frames)

    def receive(self) -> list[bytes]:
        assert self._socket.poll(ANSWER_MS), "no answer"
        return self._socket.recv_multipart()

    def ask(self, **request: Any) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
        """The header, and (topic, body) of each message."""
        self.send(json.dumps(request).encode())
        header, *frames = self.receive()
        names = [topic.decode() for topic in frames[::2]]
        return json.loads(header), list(zip(names, frames[1::2], strict=True))

    def error(self, *frames: bytes) -> dict[str, str]:
        """The error that answers `frames`."""
        self.send(*frames)
        (body,) = self.receive()
        answer = json.loads(body)
        assert list(answer) == ["error"]
        error: dict[str, str] = answer["error"]
        return error

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def askers() -> Iterator[Callable[..., Asker]]:
    made: list[Asker] = []

    def make(endpoint: str, kind: int = zmq.DEALER) -> Asker:
        made.append(Asker(endpoint, kind))
        return made[-1]

    yield make
    for one in made:
        one.close()


MakeAsker = Callable[..., Asker]


def seqs(messages: list[tuple[str, bytes]]) -> list[int]:
    return [json.loads(body)["seq"] for _, body in messages]


# -- answers -------------------------------------------------------------------------------------


def test_pages_give_everything_once(daemon: MakeDaemon, askers: MakeAsker) -> None:
    running = daemon()
    fill(running.state, predictions(3_500))
    started(running)
    asker = askers(running.replay)
    found: list[int] = []
    since, newest = 0, -1
    while since != newest:
        header, messages = asker.ask(since=since)
        assert set(header) >= {"journal", "next", "oldest", "newest"}
        assert header["oldest"] == 1
        assert 1 <= len(messages) <= LIMIT
        assert sum(len(topic) + len(body) for topic, body in messages) <= MB
        found += seqs(messages)
        assert header["next"] == found[-1]
        since, newest = header["next"], header["newest"]
    assert found == list(range(1, 3_502))


def test_limit(daemon: MakeDaemon, askers: MakeAsker) -> None:
    running = daemon()
    fill(running.state, ends(1_200))
    started(running)
    for limit, given in ((1, 1), (10, 10), (1_000, 1_000), (10**30, 1_000)):
        header, messages = askers(running.replay).ask(since=5, limit=limit)
        assert seqs(messages) == list(range(6, 6 + given))
        assert header["next"] == 5 + given


def test_nothing_left(daemon: MakeDaemon, askers: MakeAsker) -> None:
    running = started(daemon())
    for since in (1, 2, 10**6, 2**63 - 1):
        header, messages = askers(running.replay).ask(since=since)
        assert messages == []
        assert (header["next"], header["newest"]) == (1, 1)


def test_topic_and_next_past_what_it_skips(daemon: MakeDaemon, askers: MakeAsker) -> None:
    running = daemon()
    fill(running.state, [*predictions(24_000), *ends(2), *predictions(10, first=24_000)])
    started(running)
    asker = askers(running.replay)
    header, messages = asker.ask(since=0, topic="tinyast.v1.file.")
    assert messages == []  # it skipped many rows, and answers before it finds a match
    assert 0 < header["next"] < header["newest"]
    header, messages = asker.ask(since=header["next"], topic="tinyast.v1.file.")
    assert seqs(messages) == [24_001, 24_002]
    assert header["next"] == header["newest"] == 24_013
    header, messages = asker.ask(since=24_013, topic="tinyast.v1.file.")
    assert messages == []
    assert header["next"] == 24_013
    for prefix in ("tinyast.v1.status", "tinyast.v1.status.started"):
        assert seqs(asker.ask(since=24_000, topic=prefix)[1]) == [24_013]
    for nothing in ("tinyast.v2.", "status", "é"):
        assert asker.ask(since=24_000, topic=nothing)[1] == []


def test_oldest_tells_what_was_pruned(daemon: MakeDaemon, askers: MakeAsker) -> None:
    running = daemon(env={"TINYAST_JOURNAL__KEEP_MB": "1"})
    fill(running.state, predictions(4_000))
    started(running)
    asker = askers(running.replay)
    running.wait_for(lambda: asker.ask(since=0)[0]["oldest"] > 1, "pruned")
    header, messages = asker.ask(since=0)
    assert header["oldest"] > 0 + 1  # so who asks since 0 has lost some
    assert seqs(messages)[0] == header["oldest"]
    header, messages = asker.ask(since=header["oldest"] - 1)
    assert header["oldest"] <= seqs(messages)[0]
    assert header["newest"] == 4_001


def test_status(daemon: MakeDaemon, askers: MakeAsker) -> None:
    running = started(daemon())
    asker = askers(running.replay)
    asker.send(b'{"status": true}')
    (body,) = asker.receive()
    status = json.loads(body)
    assert status["pid"] == running.process.pid
    assert status["replay"] == running.replay
    assert status["last"]["status"] == 1
    assert status["replays"]["refused"] == 0
    assert [source["state"] for source in status["sources"]] == ["watching"]


def test_asked_before_it_runs(daemon: MakeDaemon, askers: MakeAsker) -> None:
    """A question that waits at the endpoint while the daemon starts is answered when it can be."""
    running = daemon()
    early, earlier = askers(running.replay), askers(running.replay)
    early.send(b'{"status": true}')
    earlier.send(b'{"since": 0}')
    running.start()
    assert "pid" in json.loads(early.receive()[0])
    assert "newest" in json.loads(earlier.receive()[0])


def test_envelopes(daemon: MakeDaemon, askers: MakeAsker) -> None:
    running = started(daemon())
    dealer, req = askers(running.replay), askers(running.replay, zmq.REQ)
    header, messages = req.ask(since=0)
    assert (header["newest"], seqs(messages)) == (1, [1])
    assert req.error(b"{}")["code"] == "bad_request"
    dealer.send(b'{"since": 0}')
    plain = dealer.receive()
    dealer.send(b"", b'{"since": 0}')
    assert dealer.receive() == [b"", *plain]  # the empty frame is given back
    dealer.send(b"", b"nonsense")
    assert dealer.receive()[0] == b""
    dealer.send(b"")
    assert b"one JSON frame" in dealer.receive()[1]


# -- refusals ------------------------------------------------------------------------------------

REFUSED = {
    "no JSON": b"since 0",
    "cut": b'{"since": 0',
    "two": b'{"since": 0}{"since": 0}',
    "no object": b"[]",
    "null": b"null",
    "a number": b"7",
    "nothing asked": b"{}",
    "status not wanted": b'{"status": false}',
    "status no truth": b'{"status": 1}',
    "no since": b'{"limit": 5}',
    "negative": b'{"since": -1}',
    "fraction": b'{"since": 0.5}',
    "float": b'{"since": 1.0}',
    "text": b'{"since": "0"}',
    "truth": b'{"since": true}',
    "infinite": b'{"since": 1e999}',
    "not a number": b'{"since": NaN}',
    "beyond 64 bits": b'{"since": 9223372036854775808}',
    "endless": b'{"since": ' + b"9" * 4_000 + b"}",
    "limit none": b'{"since": 0, "limit": 0}',
    "limit negative": b'{"since": 0, "limit": -5}',
    "limit text": b'{"since": 0, "limit": "many"}',
    "topic number": b'{"since": 0, "topic": 1}',
    "topic not UTF-8": b'{"since": 0, "topic": "\xff"}',
    "topic half a character": b'{"since": 0, "topic": "\\ud800"}',
    "unknown": b'{"since": 0, "before": 9}',
    "deep": b"[" * 4_000,
    "deep inside": b'{"since": 0, "topic": ' + b'{"a":' * 700,
    "deep and closed": b'{"x": ' + b"[" * 2_000 + b"]" * 2_000 + b"}",
    "zeros": b"\0" * 100,
}


def test_malformed_requests_are_answered_with_an_error(
    daemon: MakeDaemon, askers: MakeAsker
) -> None:
    running = started(daemon())
    asker = askers(running.replay)
    for name, request in REFUSED.items():
        error = asker.error(request)
        assert error["code"] == "bad_request", name
        assert 0 < len(error["text"]) < 500, name
    for frames in ([b'{"since": 0}'] * 2, [b'{"since": 0}', b""], [b"x"] * 1_000):
        assert "one JSON frame" in asker.error(*frames)["text"]
    assert asker.ask(since=0)[0]["newest"] == 1
    assert running.status()["replays"]["refused"] == len(REFUSED) + 3


def test_a_huge_frame_costs_its_sender_the_connection(
    daemon: MakeDaemon, askers: MakeAsker
) -> None:
    running = started(daemon())
    bystander, sender = askers(running.replay), askers(running.replay)
    before = running.memory()
    assert bystander.ask(since=0)[0]["newest"] == 1
    sender.send(b'{"since": 0, "topic": "' + b"x" * 50_000_000 + b'"}')
    sender.send(b'{"since": 0}')  # goes out on the next connection, if not on this one
    for _ in range(100):
        assert bystander.ask(since=0)[0]["newest"] == 1
    assert running.memory() - before < 20 * MB


def test_bytes_that_are_no_zeromq(daemon: MakeDaemon, askers: MakeAsker) -> None:
    running = started(daemon())
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 1_000, b"\xff" * 1_000, b""):
        for endpoint in (running.replay, running.publish):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.connect(endpoint.removeprefix("ipc://"))
                stranger.sendall(said)
    assert askers(running.replay).ask(since=0)[0]["newest"] == 1


# -- unread replies ------------------------------------------------------------------------------


def zmtp_dealer(endpoint: str, *requests: bytes) -> socket.socket:
    """A DEALER that asks and reads no answer, by the wire protocol itself (ZMTP 3.0, RFC 23)."""
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(endpoint.removeprefix("ipc://"))
    greeting = b"\xff" + b"\0" * 8 + b"\x7f" + b"\3\0" + b"NULL".ljust(20, b"\0") + b"\0" * 32
    ready = b"\5READY\x0bSocket-Type" + (6).to_bytes(4, "big") + b"DEALER"
    frames = b"".join(b"\0" + bytes([len(request)]) + request for request in requests)
    peer.sendall(greeting)
    peer.recv(len(greeting), socket.MSG_WAITALL)
    peer.sendall(b"\4" + bytes([len(ready)]) + ready + frames)
    return peer


def wait_for_answers(running: Daemon, before: int, count: int) -> None:
    """Wait until `count` requests have been answered since `before` were."""
    asked = iter(range(1, 10**9))  # to ask is to be answered, too

    def done() -> bool:
        try:
            found = answered(running)
        except NoAnswer:  # the machine is busy
            return False
        return found - next(asked) >= before + count

    running.wait_for(done, f"{count} answered", 240)


def answered(running: Daemon) -> int:
    """Requests answered before this one."""
    count: int = running.status()["replays"]["answered"]
    return count + 1


def latency(running: Daemon, client: Client, name: str, count: int) -> float:
    """Median seconds from a file's arrival to its last message at `client`."""
    took = []
    for number in range(count):
        path = running.base / "outside.wav"
        path.write_bytes(short_wav(seed=number))
        began = time.perf_counter()
        path.rename(running.folder / f"{name}-{number}.wav")
        kinds = [next(iter(client)).message["type"] for _ in range(2)]
        took.append(time.perf_counter() - began)
        assert kinds == ["prediction", "file"]
    return statistics.median(took)


@pytest.mark.parametrize("each", [1, 20])
def test_replies_that_nobody_reads_cost_little(
    daemon: MakeDaemon, askers: MakeAsker, each: int
) -> None:
    """150 clients ask for all messages and do not read them."""
    clients = 150
    running = daemon()
    fill(running.state, predictions(5_000))
    started(running)
    asker = askers(running.replay)
    asker.ask(since=0)
    with running.client(since=None) as client:
        while client.journal is None:  # only then it knows from where on
            assert client.receive(0.1) is None
        latency(running, client, "warm", 5)
        alone = latency(running, client, "alone", 20)
        before, count = running.memory(), answered(running)
        peers = [zmtp_dealer(running.replay, *[b'{"since": 0}'] * each) for _ in range(clients)]
        asked = latency(running, client, "asked", 20)
        header, messages = asker.ask(since=0)
        assert header["newest"] >= 5_000
        assert messages
        wait_for_answers(running, count, clients * each)
        unread = latency(running, client, "unread", 20)
        grown = running.memory() - before
        for peer in peers:
            peer.close()
    print(
        f"{clients} clients x {each} unread requests: {grown / MB:.1f} MB; "
        f"median live latency {1000 * alone:.1f} ms before, {1000 * asked:.1f} ms while they are "
        f"answered, {1000 * unread:.1f} ms while the answers wait"
    )
    assert grown < 50 * MB


def test_sockets_that_never_receive_cost_little(daemon: MakeDaemon, askers: MakeAsker) -> None:
    """The same through libzmq, whose peers read ahead a little."""
    running = daemon()
    fill(running.state, predictions(5_000))
    started(running)
    before, count = running.memory(), answered(running)
    for _ in range(150):
        askers(running.replay).send(b'{"since": 0}')
    wait_for_answers(running, count, 150)
    grown = running.memory() - before
    print(f"150 DEALER sockets that never receive: {grown / MB:.1f} MB")
    assert grown < 50 * MB


def test_who_does_not_read_keeps_nobody_from_replay(daemon: MakeDaemon) -> None:
    running = daemon()
    fill(running.state, predictions(5_000))
    started(running)
    peer = zmtp_dealer(running.replay, *[b'{"since": 0}'] * 1_000)
    with running.client(since=0) as client:
        heard = [next(iter(client)).message["seq"] for _ in range(5_001)]
    assert heard == list(range(1, 5_002))
    peer.close()


def test_a_journal_that_cannot_be_opened_yet_is_opened_later(tmp_path: Path) -> None:
    """As when the system has no descriptor to spare at that moment."""
    fill(tmp_path / "state", predictions(3))
    journal, away = tmp_path / "state" / "journal.sqlite3", tmp_path / "away"
    journal.rename(away)
    halt = threading.Event()
    opened: list[JournalReader | None] = []
    opening = threading.Thread(target=lambda: opened.append(open_reader(journal.parent, halt)))
    opening.start()
    opening.join(0.1)
    assert not opened
    away.rename(journal)
    opening.join(30)
    (reader,) = opened
    assert reader is not None
    assert len(reader.page(0, 10, MB, "").messages) == 3
    reader.close()
    halt.set()
    assert open_reader(journal.parent, halt) is None
