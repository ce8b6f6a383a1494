"""The web application: its routes, behind the guard."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from daemon.errors import DaemonError
from daemon.page.web.api.answers import answer, failure, not_found_or_bad
from daemon.page.web.api.openapi import document
from daemon.page.web.api.operations import Api
from daemon.page.web.guard import Guard
from daemon.page.web.live import Hub, TooManyListeners
from daemon.page.web.shared import Page
from daemon.page.web.sign_in import Doors

STATIC = Path(__file__).parent.parent / "static"


def build(page: Page) -> ASGIApp:
    """The application."""
    api, doors = Api(page), Doors(page.gate)

    async def index(request: Request) -> Response:
        return FileResponse(STATIC / "index.html", media_type="text/html")

    async def live(request: Request) -> Response:
        return await _live(request, page.hub)

    async def openapi(request: Request) -> Response:
        return answer(document(api))

    # Without redirections to a path with another slash: below a proxy's path they lead elsewhere.
    under_api = Router(
        [
            Route("/session", doors.session),
            Route("/sign-in", doors.sign_in, methods=["POST"]),
            Route("/sign-out", doors.sign_out, methods=["POST"]),
            Route("/live", live),
            Route("/openapi.json", openapi),
            *api.routes(),
        ],
        redirect_slashes=False,
    )
    routes: list[BaseRoute] = [
        Route("/", index),
        Mount("/static", StaticFiles(directory=STATIC)),
        Mount("/api/v1", under_api),
    ]

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        page.hub.start()
        yield

    handlers: dict[int | type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        DaemonError: _explain,
        ClientDisconnect: _gone,
        sqlite3.DatabaseError: _cannot_read,
        HTTPException: _unknown,
    }
    app = Starlette(routes=routes, lifespan=life, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Guard(app, page)


async def _live(request: Request, hub: Hub) -> Response:
    if request.method == "HEAD":  # which a stream would never end
        return Response(media_type="text/event-stream")
    stream = hub.listen()
    try:
        first = await anext(stream)
    except TooManyListeners as error:
        return failure(503, "too_many_listeners", str(error))
    headers = {"X-Accel-Buffering": "no"}  # nginx and others would hold messages back
    chained = _chained(first, stream)
    return StreamingResponse(chained, media_type="text/event-stream", headers=headers)


async def _explain(_: Request, error: Exception) -> Response:
    assert isinstance(error, DaemonError)
    return not_found_or_bad(error)


async def _cannot_read(_: Request, error: Exception) -> Response:
    """The disk, what another program does to it, or damage, with which the next write ends."""
    return failure(503, "unavailable", f"the page's store cannot be read now ({error})")


async def _gone(_: Request, error: Exception) -> Response:
    """The client left before its request was whole, and does not see this answer."""
    return failure(400, "cut_short", "the request was not whole")


async def _unknown(_: Request, error: Exception) -> Response:
    """No such path or method."""
    assert isinstance(error, HTTPException)
    code = error.detail.lower().replace(" ", "_")
    answered = failure(error.status_code, code, f"{error.detail}; see /api/v1/openapi.json")
    answered.headers.update(error.headers or {})
    return answered


async def _chained(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for text in rest:
        yield text
