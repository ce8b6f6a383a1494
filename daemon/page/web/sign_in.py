"""Signing in and out."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from daemon.page.web.access import SESSION_S, Gate
from daemon.page.web.api.answers import answer, failure
from daemon.page.web.api.parameters import BadRequest, body


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a sign-in."""

    password: str


class Doors:
    """Its handlers."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        # One password at a time: each takes 128 MB, and those after a wrong one have to wait.
        self._one = asyncio.Lock()

    async def session(self, request: Request) -> Response:
        """Whether a password is needed, and the token for writes."""
        session = self._gate.session(request.cookies.get(self._gate.cookie))
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
        try:
            given = body(await request.body(), SignIn)
        except BadRequest as error:
            return failure(400, "bad_request", str(error))
        async with self._one:
            if (wait := self._gate.pause(address)) > 0:
                response = failure(429, "slow_down", f"too many failed sign-ins; wait {wait:.0f} s")
                response.headers["Retry-After"] = str(int(wait) + 1)
                return response
            cookie = await run_in_threadpool(self._gate.sign_in, address, given.password)
        if cookie is None:
            return failure(401, "wrong_password", "that is not the password")
        response = answer({"signed_in": True})
        response.set_cookie(
            self._gate.cookie,
            cookie,
            max_age=int(SESSION_S),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    async def sign_out(self, request: Request) -> Response:
        """Forget the session."""
        self._gate.sign_out(request.cookies.get(self._gate.cookie, ""))
        response = answer({"signed_in": False})
        response.delete_cookie(self._gate.cookie)
        return response
