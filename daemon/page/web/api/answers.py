"""Answers of the API: JSON, files and parts of them, errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import IO

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from daemon.errors import DaemonError
from daemon.page.export import CannotExport
from daemon.page.sound import NoSound
from daemon.page.web.api.parameters import BadRequest, NotFound

RANGE = re.compile(r"bytes=\s*([0-9]{0,15})-([0-9]{0,15})\s*", re.IGNORECASE)


def answer(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def failure(status: int, code: str, text: str) -> Response:
    return JSONResponse({"error": {"code": code, "text": text}}, status)


class Streamed(StreamingResponse):
    """An answer in parts. `close` is called in the end, also if the client leaves before it."""

    def __init__(
        self, parts: Iterator[bytes], close: Callable[[], None], kind: str, headers: dict[str, str]
    ) -> None:
        super().__init__(parts, media_type=kind, headers=headers)
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:  # not by the garbage collector, some time later
            self._close()


def zipped(file: IO[bytes], name: str) -> Response:
    """A zip to download, written to the end of `file`; the answer closes it."""
    size = file.tell()
    file.seek(0)

    def chunks() -> Iterator[bytes]:
        while part := file.read(1 << 16):
            yield part

    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Content-Length": str(size),
    }
    return Streamed(chunks(), file.close, "application/zip", headers)


def ranged(request: Request, data: bytes, name: str) -> Response:
    """A file in whole or the part that `Range: bytes=a-b` asks for (RFC 9110, section 14).

    A range that makes no sense is ignored, and so is one with `If-Range`: answers have no version
    that it could name.
    """
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'inline; filename="{name}"',
    }
    found = None
    if request.method == "GET" and "if-range" not in request.headers:
        found = RANGE.fullmatch(request.headers.get("range", ""))
    first, last = found.groups() if found else ("", "")
    if not first + last or (first and last and int(last) < int(first)):
        return Response(data, media_type="audio/wav", headers=headers)
    size = len(data)
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= end:
        headers["Content-Range"] = f"bytes */{size}"
        return Response(b"", 416, headers=headers)
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return Response(data[start:end], 206, media_type="audio/wav", headers=headers)


def not_found_or_bad(error: DaemonError) -> Response:
    """The answer to an error of a handler."""
    match error:
        case BadRequest():
            return failure(400, "bad_request", str(error))
        case NotFound() | NoSound():
            return failure(404, "not_found", str(error))
        case CannotExport():
            return failure(406, "cannot_export", str(error))
    return failure(503, "unavailable", str(error))
