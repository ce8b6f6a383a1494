"""The JSON interface under /api/v1: every view of the page, for programs too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from msgspec import Struct
from starlette.concurrency import run_in_threadpool
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from daemon.page.web.api.heard import Heard
from daemon.page.web.api.parameters import Exported, Limited, Listed, Scored, Span
from daemon.page.web.api.sums import Sums
from daemon.page.web.shared import Page

SOUNDS_AT_ONCE = 4  # requests that read recordings; others wait for them


class _Number(IntegerConvertor):
    """Up to 2^52, not as many digits as a request holds."""

    regex = "[0-9]{1,16}"


register_url_convertor("number", _Number())


class Api:
    """Every operation with its handler."""

    def __init__(self, page: Page) -> None:
        self._heard, self._sums = Heard(page), Sums(page)
        self._few = asyncio.Semaphore(SOUNDS_AT_ONCE)

    def routes(self) -> list[Route]:
        reading = {self._heard.sound, self._heard.picture, self._heard.data_set}
        return [
            Route(path, self._limited(handler) if handler in reading else handler, methods=[method])
            for method, path, handler in self.table()
        ]

    def _limited(self, handler: Callable[[Request], Response]) -> Callable[[Request], object]:
        """A handler that reads recordings, which takes memory, and never ends if a mount hangs."""

        async def wait(request: Request) -> Response:
            async with self._few:
                return await run_in_threadpool(handler, request)

        return wait

    def table(self) -> Iterator[tuple[str, str, Callable[[Request], object]]]:
        """Method, path and handler of each operation."""
        heard, sums = self._heard, self._sums
        yield "GET", "/daemons", heard.daemons
        yield "GET", "/now", heard.now
        yield "GET", "/predictions", heard.predictions
        yield "GET", "/predictions/{number:number}", heard.prediction
        yield "GET", "/predictions/{number:number}/sound.wav", heard.sound
        yield "GET", "/predictions/{number:number}/picture.png", heard.picture
        yield "PUT", "/predictions/{number:number}/review", heard.review
        yield "DELETE", "/predictions/{number:number}/review", heard.take_back
        yield "GET", "/review", heard.to_review
        yield "GET", "/reviews", heard.reviewed
        yield "DELETE", "/reviews/{number:number}", heard.take_back_number
        yield "GET", "/reviews.zip", heard.data_set
        yield "GET", "/heatmap", sums.heatmap
        yield "GET", "/days", sums.days
        yield "GET", "/labels", sums.labels
        yield "GET", "/scores", sums.scores
        yield "GET", "/events", sums.events
        yield "GET", "/files", sums.files
        yield "GET", "/gaps", sums.gaps
        yield "GET", "/statuses", sums.statuses
        yield "GET", "/health", sums.health
        yield "GET", "/export", heard.export


PARAMETERS: dict[str, type[Struct]] = {
    **dict.fromkeys(("/predictions", "/review", "/events", "/files", "/gaps", "/statuses"), Listed),
    "/export": Exported,
    "/reviews": Limited,
    **dict.fromkeys(("/heatmap", "/days", "/health"), Span),
    "/scores": Scored,
}
