"""The web application: routes, sign-in, and the checks that every request passes."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.errors import DaemonError
from daemon.page.follower import Follower
from daemon.page.store.pictures import Pictures
from daemon.page.store.reader import Reader
from daemon.page.store.writer import Store
from daemon.page.web.access import COOKIE, HEADERS, SESSION_S, Gate, Session, token_digest
from daemon.page.web.answers import answer, failure, not_found_or_bad
from daemon.page.web.api import Api
from daemon.page.web.live import Hub, TooManyListeners
from daemon.page.web.openapi import document
from daemon.page.web.sound import Clip, NoSound, read_window
from tinyast.arrays import Float

STATIC = Path(__file__).parent.parent / "static"
MOST_BODY = 10_000  # bytes of a request
OPEN_PATHS = ("/", "/api/v1/session", "/api/v1/sign-in", "/api/v1/openapi.json")


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a sign-in."""

    password: str


class Page:
    """What the handlers share."""

    def __init__(
        self,
        store: Store,
        pictures: Pictures,
        hub: Hub,
        followers: list[Follower],
        gate: Gate,
    ) -> None:
        self.pictures = pictures
        self.store, self.hub, self.followers, self.gate = store, hub, followers, gate

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Queries over a connection of this request's own."""
        db = self.store.connect()
        try:
            yield Reader(db)
        finally:
            db.close()

    def sound(self, row: Clip) -> tuple[Float, int]:
        """The sound of a window, (n,), and its rate in Hz. Raises NoSound."""
        follower = next((each for each in self.followers if each.number == row.daemon), None)
        if follower is None:
            raise NoSound("its daemon is no longer followed")
        with self.reader() as reader:
            end_s = row.start_s + row.length_s
            if row.path and reader.is_private(row.path, row.start_s, end_s):
                raise NoSound("it holds a voice, and is not to be heard (setting: privacy.speech)")
        return read_window(row, follower.roots)

    def knows_token(self, token: str) -> bool:
        """Whether a program may look with this token."""
        db: sqlite3.Connection = self.store.connect()
        try:
            query = "SELECT 1 FROM tokens WHERE digest = ?"
            return db.execute(query, (token_digest(token),)).fetchone() is not None
        finally:
            db.close()


class Guard:
    """Every request passes here: host names, sign-in, tokens for writes, size, headers."""

    def __init__(self, app: ASGIApp, page: Page) -> None:
        self._app, self._page = app, page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = await self._refuse(Request(scope))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.lower().encode(), value.encode())
                        for name, value in HEADERS.items()
                        if name.lower().encode() not in present
                    ),
                ]
            await send(message)

        await (refused or self._app)(scope, receive, send_with_headers)

    async def _refuse(self, request: Request) -> Response | None:
        """The answer to a request that may not pass."""
        if not self._page.gate.knows_host(request.headers.get("host", "")):
            text = "this page is not known by that host name; see --public-url"
            return failure(400, "unknown_host", text)
        length = request.headers.get("content-length", "0")
        if (
            not length.isdigit()
            or int(length) > MOST_BODY
            or "transfer-encoding" in request.headers
        ):
            return failure(413, "too_large", f"a request has at most {MOST_BODY} bytes")
        path = request.url.path
        if (path in OPEN_PATHS and path != "/api/v1/sign-in") or path.startswith("/static/"):
            return None
        if path == "/api/v1/sign-in":  # it has a password, and no session yet
            return self._check_origin(request)
        bearer = request.headers.get("authorization", "").partition("Bearer ")[2]
        if bearer:
            known = await run_in_threadpool(self._page.knows_token, bearer)
            return None if known else failure(401, "unknown_token", "that token is not known")
        session = self._page.gate.session(request.cookies.get(COOKIE))
        if session is None:
            return failure(401, "sign_in", "sign in first")
        if request.method not in ("GET", "HEAD") and not _has_token(request, session):
            return failure(403, "no_token", "a write needs the header X-Token; see /api/v1/session")
        return None

    @staticmethod
    def _check_origin(request: Request) -> Response | None:
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return failure(403, "other_site", "sign in from the page itself")
        return None


def _has_token(request: Request, session: Session) -> bool:
    return request.headers.get("x-token") == session.token


class Doors:
    """Signing in and out."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def session(self, request: Request) -> Response:
        """Whether a password is needed, and the token for writes."""
        session = self._gate.session(request.cookies.get(COOKIE))
        return answer(
            {
                "protected": self._gate.protected,
                "signed_in": session is not None,
                "token": session.token if session else None,
            }
        )

    async def sign_in(self, request: Request) -> Response:
        """Give the password; the answer sets a cookie."""
        address = request.client.host if request.client else ""
        if (wait := self._gate.pause(address)) > 0:
            response = failure(429, "slow_down", f"too many failed sign-ins; wait {wait:.0f} s")
            response.headers["Retry-After"] = str(int(wait) + 1)
            return response
        try:
            given = msgspec.json.decode(await request.body(), type=SignIn)
        except msgspec.DecodeError as error:
            return failure(400, "bad_request", str(error))
        cookie = await run_in_threadpool(self._gate.sign_in, address, given.password)
        if cookie is None:
            return failure(401, "wrong_password", "that is not the password")
        response = answer({"signed_in": True})
        response.set_cookie(
            COOKIE,
            cookie,
            max_age=int(SESSION_S),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    async def sign_out(self, request: Request) -> Response:
        """Forget the session."""
        self._gate.sign_out(request.cookies.get(COOKIE, ""))
        response = answer({"signed_in": False})
        response.delete_cookie(COOKIE)
        return response


def build(page: Page) -> ASGIApp:
    """The application."""
    api, doors = Api(page), Doors(page.gate)

    async def index(request: Request) -> Response:
        return FileResponse(STATIC / "index.html", media_type="text/html")

    async def live(request: Request) -> Response:
        stream = page.hub.listen()
        try:
            first = await anext(stream)
        except TooManyListeners as error:
            return failure(503, "too_many_listeners", str(error))
        return StreamingResponse(_chained(first, stream), media_type="text/event-stream")

    async def openapi(request: Request) -> Response:
        return answer(document(api))

    routes: list[BaseRoute] = [
        Route("/", index),
        Mount("/static", StaticFiles(directory=STATIC)),
        Mount(
            "/api/v1",
            routes=[
                Route("/session", doors.session),
                Route("/sign-in", doors.sign_in, methods=["POST"]),
                Route("/sign-out", doors.sign_out, methods=["POST"]),
                Route("/live", live),
                Route("/openapi.json", openapi),
                *api.routes(),
            ],
        ),
    ]

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        page.hub.start()
        yield

    async def explain(_: Request, error: Exception) -> Response:
        assert isinstance(error, DaemonError)
        return not_found_or_bad(error)

    handlers: dict[int | type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        DaemonError: explain
    }
    app = Starlette(routes=routes, lifespan=life, exception_handlers=handlers)
    return Guard(app, page)


async def _chained(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for text in rest:
        yield text
