"""Attacks on an endpoint, each in a separate process.

    python strangers.py DEED PUBLISH REPLAY SECONDS

It prints how often it attacked, and how many bytes of messages it received. Only endpoints of this
machine are allowed.
"""

from __future__ import annotations

import itertools
import random
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import zmq

TICK_S = 0.2
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB"
LONG = b"\x02" + (1 + 20 + 4_000).to_bytes(8, "big")  # the start of a frame of that length
FRAME = 600 << 20  # bytes that the header of the huge frame promises


def connected(endpoint: str) -> socket.socket:
    """A plain stream to an endpoint."""
    scheme, _, address = endpoint.partition("://")
    peer = socket.socket(socket.AF_UNIX if scheme == "ipc" else socket.AF_INET)
    peer.settimeout(TICK_S)
    host, _, port = address.rpartition(":")
    assert scheme == "ipc" or host == "127.0.0.1", "strangers stay on this machine"
    try:
        peer.connect(address if scheme == "ipc" else (host, int(port)))
    except OSError:
        peer.close()
        raise
    return peer


def greeted(endpoint: str, kind: bytes = b"SUB") -> socket.socket:
    """A connection after the handshake: libzmq breaks off with who says more before its end."""
    peer = connected(endpoint)
    ready = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
    try:
        peer.settimeout(30)
        peer.sendall(GREETING + bytes([4, len(ready)]) + ready)
        heard = b""
        while len(heard) < 66 or len(heard) < 66 + heard[65]:  # its greeting, and its own READY
            data = peer.recv(4_096)
            if not data:
                raise ConnectionResetError("it broke off")
            heard += data
    except OSError:
        peer.close()
        raise
    peer.settimeout(TICK_S)
    return peer


def heard_by(peer: socket.socket) -> bytes:
    """Read until the other side has sent enough."""
    heard = b""
    with suppress(OSError):
        while data := peer.recv(65_536):
            heard += data
    return heard


def garbage(endpoints: list[str], until: float) -> Iterator[bytes]:
    """Bytes that are not ZMTP, or only begin like it."""
    chance = random.Random(1)
    starts = (b"", GREETING[:10], GREETING, GREETING + READY)
    while time.monotonic() < until:
        with suppress(OSError), connected(chance.choice(endpoints)) as peer:
            peer.sendall(chance.choice(starts) + chance.randbytes(chance.randint(1, 5_000)))
            peer.shutdown(socket.SHUT_WR)
            yield heard_by(peer)


def connects(endpoints: list[str], until: float) -> Iterator[bytes]:
    """Connections opened by the hundred and dropped."""
    while time.monotonic() < until:
        peers = []
        for endpoint in endpoints * 50:
            with suppress(OSError):
                peers.append(connected(endpoint))
        for peer in peers:
            peer.close()
            yield b""


def huge_frame(endpoints: list[str], until: float) -> Iterator[bytes]:
    """A frame of 600 MiB, as much of it as the daemon accepts."""
    header = b"\x02" + FRAME.to_bytes(8, "big")
    block = bytes(1 << 20)
    while time.monotonic() < until:
        for endpoint in endpoints:
            with suppress(OSError), connected(endpoint) as peer:
                peer.sendall(GREETING + READY + header)
                for _ in range(FRAME // len(block)):
                    peer.sendall(block)
            yield b""


def subscriptions(endpoints: list[str], until: float) -> Iterator[bytes]:
    """Endless different subscriptions."""
    numbers = itertools.count()
    while time.monotonic() < until:
        with suppress(OSError), greeted(endpoints[0]) as peer:
            while time.monotonic() < until:
                topics = (b"%020d" % next(numbers) + b"x" * 4_000 for _ in range(50))
                peer.sendall(b"".join(LONG + b"\1" + topic for topic in topics))
                yield b""
        yield b""


def parts(endpoints: list[str], until: float) -> Iterator[bytes]:
    """Messages that never end, each of their parts a small one."""
    part = b"\x01\xff" + bytes(255)
    kinds = itertools.cycle(zip(endpoints, (b"SUB", b"DEALER"), strict=True))
    while time.monotonic() < until:
        endpoint, kind = next(kinds)
        with suppress(OSError), greeted(endpoint, kind) as peer:
            while time.monotonic() < until:
                peer.sendall(part * 1_000)
                yield b""
        yield b""


def requests(endpoints: list[str], until: float) -> Iterator[bytes]:
    """Requests for the whole journal, repeatedly."""
    context = zmq.Context()
    dealers = [context.socket(zmq.DEALER) for _ in range(4)]
    try:
        for dealer in dealers:
            dealer.linger, dealer.sndhwm = 0, 100
            dealer.connect(endpoints[-1])
        while time.monotonic() < until:
            for dealer in dealers:
                with suppress(zmq.Again):
                    dealer.send(b'{"since": 0}', zmq.NOBLOCK)
                while dealer.poll(1):
                    yield b"".join(dealer.recv_multipart())
                yield b""
    finally:
        context.destroy(linger=0)


DEEDS: dict[str, Callable[[list[str], float], Iterator[bytes]]] = {
    deed.__name__: deed for deed in (garbage, connects, huge_frame, subscriptions, parts, requests)
}


def main() -> None:
    deed, publish, replay, seconds = sys.argv[1:]
    done, leaked = 0, 0
    for heard in DEEDS[deed]([publish, replay], time.monotonic() + float(seconds)):
        done += 1
        leaked += len(heard) if b"tinyast" in heard else 0
    print(done, leaked)


if __name__ == "__main__":
    main()
