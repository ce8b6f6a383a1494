"""Clients that read their answers slowly or not at all, at uvicorn with the page's connections."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import uvicorn
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from daemon.page.web import connection

LENGTH = 1_000_000  # bytes of an answer
KERNEL = 1 << 14  # bytes that the kernel keeps for each direction
ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

Connect = Callable[[], socket.socket]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[uvicorn.Server]:
    monkeypatch.setattr(connection, "REQUEST_S", 0.2)
    monkeypatch.setattr(connection, "UNREAD_S", 1.0)
    monkeypatch.setattr(connection, "MOST_CONNECTIONS", 5)
    asked: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(1)
        half = b"." * (LENGTH // 2)
        whole = scope["path"] == "/whole"
        response = Response(2 * half) if whole else StreamingResponse(iter([half, half]))
        await response(scope, receive, send)

    config = uvicorn.Config(app, http=connection.Connection, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL)
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        wait_for(lambda: server.started)
        server.address = listening.getsockname()  # type: ignore[attr-defined]
        server.asked = asked  # type: ignore[attr-defined]
        yield server
        server.force_exit = server.should_exit = True
        thread.join()


@pytest.fixture
def connect(server: uvicorn.Server) -> Iterator[Connect]:
    with ExitStack() as stack:

        def one() -> socket.socket:
            made = stack.enter_context(socket.socket())
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL)
            made.settimeout(30)
            made.connect(server.address)  # type: ignore[attr-defined]
            return made

        yield one


def wait_for(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def read(one: socket.socket, pause_s: float = 0.0) -> int:
    """The bytes of one answer, read in pieces with pauses between them."""
    got = 0
    while got < LENGTH and (some := one.recv(1 << 16)):
        got += len(some)
        time.sleep(pause_s)
    return got


@pytest.mark.parametrize("path", [b"/whole", b"/parts"])
def test_a_slow_client_gets_a_whole_answer(connect: Connect, path: bytes) -> None:
    one = connect()
    one.sendall(ASK.replace(b"/", path, 1))
    began = time.monotonic()
    assert read(one, pause_s=0.02) >= LENGTH
    assert time.monotonic() - began > 2 * connection.REQUEST_S


def test_a_client_that_reads_nothing_is_closed(server: uvicorn.Server, connect: Connect) -> None:
    connect().sendall(ASK)
    wait_for(lambda: server.server_state.connections)
    wait_for(lambda: not server.server_state.connections)


def test_clients_that_read_nothing_make_room(
    server: uvicorn.Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "UNREAD_S", 60.0)
    for _ in range(connection.MOST_CONNECTIONS):
        connect().sendall(ASK)
    wait_for(lambda: len(server.asked) == connection.MOST_CONNECTIONS)  # type: ignore[attr-defined]
    one = connect()
    one.sendall(ASK)
    assert read(one) >= LENGTH
