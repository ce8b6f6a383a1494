"""Answers of the API: JSON, files and parts of them, errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from daemon.errors import DaemonError
from daemon.page.export import CannotExport
from daemon.page.sound import NoSound
from daemon.page.web.api.parameters import BadRequest, NotFound


def answer(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def failure(status: int, code: str, text: str) -> Response:
    return JSONResponse({"error": {"code": code, "text": text}}, status)


def zipped(file: IO[bytes], name: str) -> Response:
    """A zip to download, written to the end of `file`; the answer closes it."""
    size = file.tell()
    file.seek(0)

    def chunks() -> Iterator[bytes]:
        with file:
            while part := file.read(1 << 16):
                yield part

    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Content-Length": str(size),
    }
    return StreamingResponse(chunks(), media_type="application/zip", headers=headers)


def ranged(request: Request, data: bytes, name: str) -> Response:
    """A file in whole or the part that `Range: bytes=a-b` asks for (RFC 9110, section 14)."""
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'inline; filename="{name}"',
    }
    unit, _, wanted = request.headers.get("range", "").partition("=")
    first, dash, last = wanted.strip().partition("-")
    if unit != "bytes" or not dash or "," in wanted or not (first + last).isascii():
        return Response(data, media_type="audio/wav", headers=headers)
    if not (first + last).isdigit() or len(first + last) > 30:
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
