"""An S3 server (moto's) in a separate process, with faults.

    python tests/support/servers/object_store.py     prints its port

It lists 50 keys a page. A key with `gone` in its name is listed and cannot be read; `secret` is
denied; `slow` answers after 5 s, which is longer than pyarrow waits; `failing` answers
with an error of the server twice before it works. The bucket `closed` denies everything.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PAGE = 50
SLOW_S = 5.0
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
Application = Callable[["WSGIEnvironment", "StartResponse"], Iterable[bytes]]


class ObjectStore:
    """The server as tests see it."""

    def __enter__(self) -> ObjectStore:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.environment = {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Faults:
    """Middleware with the faults above."""

    def __init__(self, inner: Application) -> None:
        self._inner = inner
        self._failed: Counter[str] = Counter()

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path, reads = environ["PATH_INFO"], environ["REQUEST_METHOD"] in ("GET", "HEAD")
        query = environ.get("QUERY_STRING", "")
        environ["QUERY_STRING"] = re.sub(r"max-keys=\d+", f"max-keys={PAGE}", query)
        if path.startswith("/closed") or ("secret" in path and reads):
            return _refuse(start, "403 Forbidden", "AccessDenied")
        if "gone" in path and reads:
            return _refuse(start, "404 Not Found", "NoSuchKey")
        if "failing" in path and environ["REQUEST_METHOD"] == "GET":
            self._failed[path] += 1
            if self._failed[path] <= 2:
                return _refuse(start, "500 Internal Server Error", "InternalError")
        if "slow" in path and environ["REQUEST_METHOD"] == "GET":
            time.sleep(SLOW_S)
        return self._inner(environ, start)


def _refuse(start: StartResponse, status: str, code: str) -> list[bytes]:
    start(status, [("Content-Type", "application/xml")])
    words = status.partition(" ")[2]
    fault = f"<Error><Code>{code}</Code><Message>{words}</Message></Error>"
    return [f"<?xml version='1.0'?>{fault}".encode()]


def serve() -> None:
    """The process of the server."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    application = Faults(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True)
    print(server.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve()
