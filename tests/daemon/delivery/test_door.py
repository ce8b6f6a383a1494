"""What the door counts of clients' bytes, which clients it lets in, and when it parts with them."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from running import stress
from saying import Station, ends
from strangers import GREETING, READY, connected, greeted

from daemon.delivery import door as door_module
from daemon.delivery.budgets import SUBSCRIPTIONS, Account, Budget, Ledger
from daemon.delivery.endpoints import bind
from daemon.delivery.frames import Encrypted, Frames
from daemon.errors import StartError

HELLO = GREETING + READY


def frame(body: bytes, flags: int = 0) -> bytes:
    if len(body) > 255:
        return struct.pack(">BQ", flags | 2, len(body)) + body
    return bytes([flags, len(body)]) + body


def ping(context: bytes = b"") -> bytes:
    return frame(b"\x04PING\x00\x0a" + context, 4)


def subscription(topic: bytes) -> bytes:
    return frame(b"\1" + topic)


CONTENT = st.one_of(
    st.binary(max_size=600).map(subscription),
    st.binary(max_size=30).map(lambda topic: frame(b"\x09SUBSCRIBE" + topic, 4)),
    st.binary(max_size=300).map(lambda body: frame(body, 1)),
    st.just(frame(b"")),
)
HEARTBEATS = st.binary(max_size=16).map(ping) | st.just(frame(b"\x04PONG", 4))


@given(
    st.lists(st.tuples(st.booleans(), CONTENT, HEARTBEATS), max_size=12),
    st.lists(st.integers(1, 40), min_size=1),
)
def test_content_is_counted_to_the_byte_and_heartbeats_are_not(
    said: list[tuple[bool, bytes, bytes]], sizes: list[int]
) -> None:
    """However the bytes are cut into pieces."""
    wanted = len(READY) + sum(len(content) for is_content, content, _ in said if is_content)
    data = HELLO + b"".join(each if is_it else beat for is_it, each, beat in said)
    frames, found, at = Frames(), 0, 0
    while at < len(data):
        for size in sizes:
            found += frames.content(data[at : at + size])
            at += size
    assert found == wanted


def test_a_client_with_keys_has_its_handshake_free_and_heartbeats_later() -> None:
    frames = Encrypted()
    assert frames.content(bytes(Encrypted.HANDSHAKE_BYTES)) == 0
    assert 400 < frames.content(bytes(500)) <= 500


def test_what_has_left_counts_until_its_memory_is_freed() -> None:
    ledger = Ledger(Budget(free=10, each=100, address=1_000, all=150, stored=True))
    one, two = Account("a"), Account("b")
    ledger.take(one, 110)
    assert ledger.over_budget(one, [one]) is None
    ledger.take(two, 100)
    assert ledger.over_budget(two, [one, two]) == (one, "sends a lot, while all send too much")
    ledger.leave(one)
    assert ledger.over_budget(two, [two]) is None, "the open ones fit"
    assert not ledger.may_open(), "together with what is left behind they do not"
    ledger.forget(one)
    assert ledger.may_open()


def test_answered_requests_do_not_count() -> None:
    ledger = Ledger(Budget(free=10, each=100, address=1_000, all=1_000, stored=False))
    one = Account("a")
    for _ in range(50):
        ledger.take(one, 80)
        assert ledger.over_budget(one, [one]) is None
        ledger.answer(one, 80)
    ledger.take(one, 111)
    assert ledger.over_budget(one, [one]) == (one, "sends without end")


# -- on real sockets -----------------------------------------------------------------------------


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    with Station(tmp_path) as station:
        yield station


def hears(station: Station, topic: bytes = b"") -> bool:
    """Whether a subscriber that comes now hears later messages."""
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        subscriber.linger = 0
        subscriber.connect(station.publish)
        subscriber.subscribe(topic)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            station.beat()
            if subscriber.poll(50):
                return True
    return False


@pytest.mark.parametrize("first", [b"\x05strange", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 20])
def test_who_does_not_speak_the_protocol_never_reaches_libzmq(
    station: Station, first: bytes
) -> None:
    with connected(station.publish) as peer:
        peer.settimeout(30)
        peer.sendall(first)
        assert peer.recv(100) == b""
    assert hears(station)


def test_who_leaves_its_heartbeats_running_stays(station: Station) -> None:
    with greeted(station.publish) as peer:
        peer.settimeout(30)
        for _ in range(stress(4_000)):
            peer.sendall(ping(b"0123456789abcdef") * 20)
        while b"PONG" not in peer.recv(4_096):
            pass
        peer.sendall(subscription(b"tinyast."))
        while not peer_has(peer, b"tinyast"):
            station.beat()


def test_subscriptions_in_small_portions_are_cut_off_too(station: Station) -> None:
    with greeted(station.publish) as peer:
        peer.settimeout(30)
        for number in range(SUBSCRIPTIONS.each):
            if is_closed(peer):
                break
            with suppress(OSError):
                peer.sendall(subscription(b"%05d" % number))
        assert number < SUBSCRIPTIONS.each - 1
    assert hears(station)


def test_a_subscriber_gets_in_while_others_flood(station: Station) -> None:
    """And their stored bytes are freed when they leave."""
    with ExitStack() as stack:
        for number in range(stress(400)):
            with suppress(OSError):
                peer = stack.enter_context(greeted(station.publish))
                peer.sendall(b"".join(subscription(b"%d-%d" % (number, n)) for n in range(2_000)))
        assert hears(station)
    assert hears(station, b"tinyast.v1.")


def test_who_reads_nothing_by_a_unix_socket_is_disconnected_as_well(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "UNREAD_S", 1.0)
    with greeted(station.publish) as slow:
        slow.sendall(subscription(b""))
        deadline = time.monotonic() + 60
        count = 0
        while time.monotonic() < deadline and not is_closed(slow):
            station.say(ends(500, count))
            count += 500
        assert is_closed(slow)
    assert hears(station)


def peer_has(peer: socket.socket, data: bytes) -> bool:
    peer.settimeout(0.1)
    with suppress(TimeoutError):
        return data in peer.recv(65_536)
    return False


def is_closed(peer: socket.socket) -> bool:
    try:
        peer.send(ping())
    except (BrokenPipeError, ConnectionResetError):
        return True
    except TimeoutError:
        pass
    return False


# -- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "bound"),
    [
        ("tcp://127.0.0.1:*", "tcp://127.0.0.1:"),
        ("tcp://*:*", "tcp://0.0.0.0:"),
        ("tcp://lo:*", "tcp://127.0.0.1:"),
        ("tcp://localhost:*", "tcp://127.0.0.1:"),
        ("tcp://[::1]:*", "tcp://[::1]:"),
    ],
)
def test_addresses(address: str, bound: str) -> None:
    if "::" in address and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with bind(address, "tcp://127.0.0.1:*", insecure=True) as endpoints:
        assert endpoints.publisher.address.startswith(bound)
        assert int(endpoints.publisher.address.removeprefix(bound)) > 0


def has_ipv6() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


def test_what_cannot_be_bound_is_said(tmp_path: Path) -> None:
    for address, why in (
        ("tcp://nowhere.invalid:1", "no such address or interface"),
        ("tcp://192.0.2.1:1", "annot assign requested address"),
        (f"ipc://{tmp_path}/{'x' * 120}", "ame too long"),
    ):
        with pytest.raises(StartError, match=why), bind(address, "tcp://127.0.0.1:*", True):
            pass
