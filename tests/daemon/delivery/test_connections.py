"""Who is connected is counted, and never so many that the daemon has no descriptors left."""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import zmq
from running import Daemon, free_port, of_type
from sounds import write_wav
from strangers import GREETING, connected

MakeDaemon = Callable[..., Daemon]
ROOM = 100  # connections, where a process may have twice as many descriptors


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


@pytest.mark.parametrize(("endpoint", "kind"), [("publish", b"SUB"), ("replay", b"DEALER")])
def test_a_message_without_end_is_cut_off(open_to_tcp: Daemon, endpoint: str, kind: bytes) -> None:
    """libzmq keeps all parts of it, each within the limit of a part."""
    before = open_to_tcp.memory()
    ready = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
    part = b"\x03" + (4_000).to_bytes(8, "big") + b"a" * 4_000  # more of the same message follow
    for _ in range(3):
        with connected(getattr(open_to_tcp, endpoint)) as peer:
            peer.settimeout(30)
            peer.sendall(GREETING + bytes([4, len(ready)]) + ready)
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                send_on(peer, part)
    assert open_to_tcp.peak_memory() - before < 60e6
    open_to_tcp.wait_for(lambda: counts(open_to_tcp, endpoint)["open"] <= 1, "closed")
    write_wav(open_to_tcp.folder / "a.wav")
    assert open_to_tcp.ends(1)[0]["state"] == "done"


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
