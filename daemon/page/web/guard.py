"""The checks that every request passes."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.page.web.access import HEADERS, Session
from daemon.page.web.api.answers import failure
from daemon.page.web.shared import Page

MOST_BODY = 10_000  # bytes of a request
OPEN_PATHS = ("/", "/api/v1/session", "/api/v1/sign-in", "/api/v1/openapi.json")


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
            text = "this page does not answer to that host name; see --public-url"
            return failure(400, "unknown_host", text)
        length = request.headers.get("content-length", "0")
        if (
            not length.isdigit()
            or int(length) > MOST_BODY
            or "transfer-encoding" in request.headers
        ):
            return failure(413, "too_large", f"a request has at most {MOST_BODY} bytes")
        path = request.url.path
        if path.startswith("/api/") and _is_from_other_site(request):
            return failure(403, "other_site", "ask from the page itself")
        if path in OPEN_PATHS or path.startswith("/static/"):
            return None
        bearer = request.headers.get("authorization", "").partition("Bearer ")[2]
        if bearer:
            known = await run_in_threadpool(self._page.knows_token, bearer)
            return None if known else failure(401, "unknown_token", "that token is not known")
        gate = self._page.gate
        session = gate.session(request.cookies.get(gate.cookie))
        if session is None:
            return failure(401, "sign_in", "sign in first")
        if request.method not in ("GET", "HEAD") and not _has_token(request, session):
            return failure(403, "no_token", "a write needs the header X-Token; see /api/v1/session")
        return None


def _is_from_other_site(request: Request) -> bool:
    """Whether a page of another site has a browser ask. A link there may lead here all the same.

    It could read no answer, but have this page work for it, or sign the browser in.
    """
    site = request.headers.get("sec-fetch-site", "same-origin")
    mode = request.headers.get("sec-fetch-mode")
    is_link = request.method in ("GET", "HEAD") and mode == "navigate"
    return site not in ("same-origin", "none") and not is_link


def _has_token(request: Request, session: Session) -> bool:
    return request.headers.get("x-token") == session.token
