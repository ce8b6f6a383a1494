"""Clients that read their answers slowly or not at all, at uvicorn with the page's connections."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import cast

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from daemon.page.web import connection
from daemon.page.web.api.answers import zipped
from daemon.page.web.api.heard import MOST_FILES, Heard, TooManyFiles
from daemon.page.web.api.operations import SOUNDS_AT_ONCE, Api
from daemon.page.web.shared import Page

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
    wait_for(lambda: server.asked)  # type: ignore[attr-defined]
    wait_for(lambda: not server.server_state.connections)


def test_clients_that_read_nothing_make_room(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "UNREAD_S", 60.0)
    for _ in range(connection.MOST_CONNECTIONS):
        connect().sendall(ASK)
    wait_for(lambda: len(connection.Connection._unread) == connection.MOST_CONNECTIONS)
    one = connect()
    one.sendall(ASK)
    assert read(one) >= LENGTH


def test_answers_that_nobody_reads_take_little_memory(
    server: uvicorn.Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MOST_CONNECTIONS", 50)
    monkeypatch.setattr(connection, "UNREAD_S", 60.0)
    monkeypatch.setattr(connection, "ANSWER", 0)
    monkeypatch.setattr(connection, "MOST_UNREAD", 4 * LENGTH)
    for count in range(1, 21):
        connect().sendall(ASK.replace(b"/", b"/whole", 1))
        wait_for(lambda count=count: len(server.asked) == count)  # type: ignore[attr-defined,misc]
    wait_for(lambda: len(server.server_state.connections) <= 5)
    one = connect()
    one.sendall(ASK)
    assert read(one) >= LENGTH


def test_few_sounds_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes memory, and a thread for as long as its disk hangs."""
    working: set[int] = set()
    most = 0

    def sound(self: Heard, request: Request) -> Response:
        nonlocal most
        working.add(threading.get_ident())
        most = max(most, len(working))
        time.sleep(0.02)
        working.discard(threading.get_ident())
        return Response()

    monkeypatch.setattr(Heard, "sound", sound)
    app = Starlette(routes=Api(cast("Page", None)).routes())

    async def ask() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            asked = [client.get(f"http://x/predictions/{n}/sound.wav") for n in range(20)]
            return [each.status_code for each in await asyncio.gather(*asked)]

    assert asyncio.run(ask()) == [200] * 20
    assert most == SOUNDS_AT_ONCE


def test_zips_that_are_not_read_take_bounded_disk() -> None:
    heard = Heard(cast("Page", None))
    with ExitStack() as stack:
        zips = [stack.enter_context(heard.new_file()) for _ in range(MOST_FILES)]
        with pytest.raises(TooManyFiles, match="wait until one is done"):
            heard.new_file()
        zips[0].close()
        stack.enter_context(heard.new_file())


def test_the_file_of_a_zip_is_closed_when_its_client_leaves() -> None:
    file = tempfile.TemporaryFile()  # noqa: SIM115
    file.write(bytes(LENGTH))

    async def leave(message: Message) -> None:
        raise ClientDisconnect

    async def run() -> None:
        scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
        with pytest.raises(ClientDisconnect):
            await zipped(file, "a.zip")(scope, receive=leave, send=leave)  # type: ignore[arg-type]

        assert file.closed

    asyncio.run(run())
