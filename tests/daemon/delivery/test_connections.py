"""The daemon counts connections, and closes some before its descriptors run out."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import zmq
from running import Daemon, free_port, of_type, stress
from sounds import write_wav
from strangers import greeted

from daemon.delivery import door as door_module
from daemon.delivery.endpoints import bind

MakeDaemon = Callable[..., Daemon]
MOST_MEMORY = 200e6  # unbounded, these floods take gigabytes
ROOM = 100  # connections, if a process may have twice as many descriptors


def counts(listening: Daemon, endpoint: str = "publish") -> dict[str, int]:
    found: dict[str, int] = listening.status()["connections"][endpoint]
    return found


def over_tcp(listening: Daemon) -> int:
    """Have both endpoints on TCP; the port of `publish`."""
    port = free_port()
    listening.publish = f"tcp://127.0.0.1:{port}"
    listening.replay = f"tcp://127.0.0.1:{free_port()}"
    return port


@contextmanager
def few_descriptors(count: int) -> Iterator[None]:
    """What is started inside may open no more than `count`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_subscribers_are_counted_as_they_come_and_go(daemon: MakeDaemon) -> None:
    listening = daemon().start()
    assert counts(listening)["subscribers"] == 0
    with listening.client(), listening.client():
        listening.wait_for(lambda: counts(listening)["subscribers"] == 2, "two")
        with listening.client():
            listening.wait_for(lambda: counts(listening)["subscribers"] == 3, "three")
        listening.wait_for(lambda: counts(listening)["subscribers"] == 2, "two again")
        assert counts(listening)["accepted"] == counts(listening)["succeeded"] == 3


def test_who_says_nothing_is_no_subscriber_and_is_sent_away(daemon: MakeDaemon) -> None:
    listening = daemon()
    port = over_tcp(listening)
    listening.start()
    with ExitStack() as peers:
        for _ in range(5):
            peers.enter_context(socket.create_connection(("127.0.0.1", port)))
        listening.wait_for(lambda: counts(listening)["open"] == 5, "connected")
        assert counts(listening)["subscribers"] == 0
        listening.wait_for(lambda: counts(listening)["open"] == 0, "sent away")
        assert counts(listening)["given_up"] == 5


def test_connections_never_take_the_last_descriptors(daemon: MakeDaemon) -> None:
    listening = daemon()
    port = over_tcp(listening)
    with few_descriptors(2 * ROOM):
        listening.start()
    with ExitStack() as peers:
        for _ in range(3 * ROOM):
            peer = peers.enter_context(socket.socket())
            peer.setblocking(False)
            peer.connect_ex(("127.0.0.1", port))
        write_wav(listening.folder / "meanwhile.wav")
        (end,) = listening.ends(1)
        assert end["state"] == "done"
        heard = listening.hear(
            lambda r: any(m["status"] == "crowded" for m in of_type(r, "status"))
        )
        (crowded,) = [m for m in of_type(heard, "status") if m["status"] == "crowded"]
        assert ROOM < crowded["connections"] < 2 * ROOM
        listening.wait_for(lambda: counts(listening)["open"] < ROOM, "room again")
    write_wav(listening.folder / "after.wav", seed=1)
    assert len(listening.ends(2)) == 2
    assert listening.stop() == 0


def send_on(peer: socket.socket, data: bytes) -> None:
    while True:
        peer.sendall(data)


@pytest.fixture
def open_to_tcp(daemon: MakeDaemon) -> Daemon:
    listening = daemon()
    over_tcp(listening)
    return listening.start()


def few_open(listening: Daemon, endpoint: str) -> bool:
    return counts(listening, endpoint)["open"] <= 1


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_a_message_without_end_is_cut_off(daemon: MakeDaemon, transport: str) -> None:
    """libzmq keeps all parts of it, each within the limit of a part."""
    listening = daemon()
    if transport == "tcp":
        over_tcp(listening)
    listening.start()
    for endpoint, kind in (("publish", b"SUB"), ("replay", b"DEALER")):
        part = b"\x01\xff" + b"a" * 255  # more of the same message follow
        for _ in range(2):
            with greeted(getattr(listening, endpoint), kind) as peer:
                peer.settimeout(30)
                with pytest.raises((ConnectionResetError, BrokenPipeError)):
                    send_on(peer, part * 100)
        listening.wait_for(partial(few_open, listening, endpoint), "closed")
    assert listening.peak_memory() < MOST_MEMORY
    write_wav(listening.folder / "a.wav")
    assert listening.ends(1)[0]["state"] == "done"


def subscribe(peer: socket.socket, topics: list[bytes]) -> None:
    frames = [b"\1" + topic for topic in topics]
    peer.sendall(b"".join(bytes([2]) + len(each).to_bytes(8, "big") + each for each in frames))


def test_many_clients_cannot_share_out_a_flood(open_to_tcp: Daemon) -> None:
    """Each stays below its own limit; together they would need 16 kB x 100 x 60 of memory."""
    with open_to_tcp.client() as client, ExitStack() as stack:
        for number in range(100):
            peer = stack.enter_context(greeted(open_to_tcp.publish))
            peer.settimeout(30)
            with suppress(OSError):  # it is closed already
                subscribe(peer, [b"%06d-%02d" % (number, n) + b"x" * 900 for n in range(16)])
        open_to_tcp.wait_for(lambda: "one of many" in open_to_tcp.log.read_text(), "closed")
        write_wav(open_to_tcp.folder / "a.wav")
        assert next(iter(client)).message["seq"] == 1
    assert open_to_tcp.peak_memory() < MOST_MEMORY


def test_who_reads_nothing_is_disconnected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a minute; a second is enough here. Others still receive."""
    monkeypatch.setattr(door_module, "UNREAD_S", float(stress(60)))
    with bind("tcp://127.0.0.1:*", "tcp://127.0.0.1:*", False) as endpoints:
        publisher, monitor = endpoints.publisher.socket, endpoints.monitor
        with (
            zmq.Context() as context,
            context.socket(zmq.SUB) as reader,
            greeted(endpoints.publisher.address) as slow,
        ):
            reader.connect(endpoints.publisher.address)
            reader.subscribe(b"")
            subscribe(slow, [b""])
            stats = monitor.stats["publish"]
            until = time.monotonic() + 240
            while stats.accepted < 2 or stats.connections == 2:
                assert time.monotonic() < until, "it is still there"
                publisher.send(bytes(10_000))
                if reader.poll(1):
                    reader.recv()
            while reader.poll(100):
                reader.recv()
            publisher.send(b"for those who read")
            assert reader.poll(60_000)
            assert stats.connections == 1


def test_many_requests_and_subscriptions_are_no_flood(open_to_tcp: Daemon) -> None:
    with zmq.Context() as context, context.socket(zmq.REQ) as asking:
        asking.connect(open_to_tcp.replay)
        long = b'{"status": true, "topic": "' + b"x" * 3_900 + b'"}'
        for _ in range(100):  # 400 kB in all
            asking.send(long)
            assert asking.poll(30_000)
            asking.recv()
    with open_to_tcp.client() as client:
        write_wav(open_to_tcp.folder / "a.wav")
        assert next(iter(client)).message["seq"] == 1
    assert "without end" not in open_to_tcp.tail()
