"""The JSON interface under /api/v1: every view of the page, for programs too."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import IO, TYPE_CHECKING, Annotated, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from daemon.errors import DaemonError
from daemon.page import export, reviews
from daemon.page.store.filter import Filter
from daemon.page.store.reader import Reader, Row, hours_of
from daemon.page.web.picture import draw
from daemon.page.web.sound import NoSound, wav_bytes

if TYPE_CHECKING:
    from daemon.page.web.app import Page

DAY_MS = 86_400_000
Query = TypeVar("Query", bound=Struct)
Milliseconds = Annotated[int, Meta(ge=0, le=2**52)]
Score = Annotated[float, Meta(ge=0, le=1)]
Name = Annotated[str, Meta(max_length=200)]
Number = Annotated[int, Meta(ge=1, le=2**52)]
Limit = Annotated[int, Meta(ge=1, le=1000)]
Day = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d$")]


class Listed(Struct, frozen=True, forbid_unknown_fields=True):
    """Query parameters that choose predictions. Times are ms since 1970, of the recording."""

    since: Milliseconds | None = None
    until: Milliseconds | None = None
    label: Name | None = None
    source: Name | None = None
    daemon: Number | None = None
    decision: Literal["accepted", "rejected"] | None = None
    min_score: Score | None = None
    max_score: Score | None = None
    text: Name | None = None
    limit: Limit = 100
    before_at: Milliseconds | None = None  # with `before`: where the previous answer ended
    before: Number | None = None
    format: Literal["csv", "jsonl", "parquet"] = "csv"  # of an export

    def filter(self) -> Filter:
        names = Filter.__struct_fields__
        return Filter(**{name: getattr(self, name) for name in names})


class Limited(Struct, frozen=True, forbid_unknown_fields=True):
    """Query parameter of a list that nothing else chooses from."""

    limit: Limit = 100


class Span(Struct, frozen=True, forbid_unknown_fields=True):
    """Query parameters of sums over days."""

    day: Day | None = None
    days: Annotated[int, Meta(ge=1, le=400)] = 1
    zone: Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")] = "UTC"
    label: Name | None = None
    source: Name | None = None
    daemon: Number | None = None

    def where(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise BadRequest(f"zone: there is no time zone {self.zone!r}") from error

    def last(self) -> date:
        """The day, today if none is given. Raises BadRequest."""
        if self.day is None:
            return datetime.now(self.where()).date()
        try:
            day = date.fromisoformat(self.day)
        except ValueError as error:
            raise BadRequest(f"day: {self.day!r} is not a date such as 2026-05-31") from error
        if not 1971 <= day.year <= 2100:
            raise BadRequest("day: the year is from 1971 to 2100")
        return day


class BadRequest(DaemonError):
    """A request that does not fit; the text says why."""


class NotFound(DaemonError):
    """There is no such thing."""


def answer(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def failure(status: int, code: str, text: str) -> Response:
    return JSONResponse({"error": {"code": code, "text": text}}, status)


def parameters(request: Request, kind: type[Query]) -> Query:
    """The query as a struct. Raises BadRequest naming the parameter."""
    try:
        return msgspec.convert(dict(request.query_params), kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)) from error


class Api:
    """The handlers. Those that are not `async` run in threads."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def routes(self) -> list[Route]:
        return [Route(path, handler, methods=[method]) for method, path, handler in self.table()]

    def table(self) -> Iterator[tuple[str, str, Callable[[Request], object]]]:
        """Method, path and handler of each operation."""
        yield "GET", "/daemons", self.daemons
        yield "GET", "/now", self.now
        yield "GET", "/predictions", self.predictions
        yield "GET", "/predictions/{number:int}", self.prediction
        yield "GET", "/predictions/{number:int}/sound.wav", self.sound
        yield "GET", "/predictions/{number:int}/picture.png", self.picture
        yield "PUT", "/predictions/{number:int}/review", self.review
        yield "DELETE", "/predictions/{number:int}/review", self.take_back
        yield "GET", "/review", self.to_review
        yield "GET", "/reviews", self.reviewed
        yield "DELETE", "/reviews/{number:int}", self.take_back_number
        yield "GET", "/reviews.zip", self.data_set
        yield "GET", "/heatmap", self.heatmap
        yield "GET", "/days", self.days
        yield "GET", "/labels", self.labels
        yield "GET", "/scores", self.scores
        yield "GET", "/events", self.events
        yield "GET", "/files", self.files
        yield "GET", "/gaps", self.gaps
        yield "GET", "/statuses", self.statuses
        yield "GET", "/health", self.health
        yield "GET", "/export", self.export

    # -- daemons and predictions ---------------------------------------------------------------

    def daemons(self, request: Request) -> Response:
        """The daemons that the page follows, with their newest heartbeat."""
        return answer([each.describe() for each in self._page.followers])

    def now(self, request: Request) -> Response:
        """For each source: its newest predictions; and the events that go on."""
        with self._page.reader() as reader:
            sources = reader.table(
                "SELECT number, daemon, kind, name FROM sources ORDER BY daemon, number"
            )
            for source in sources:
                chosen = Filter(source=str(source["name"]), daemon=int(str(source["daemon"])))
                source["predictions"] = reader.predictions(chosen, 24)
            return answer({"sources": sources, "events": _events(reader, "e.ended IS NULL", [])})

    def predictions(self, request: Request) -> Response:
        """Predictions, the newest first."""
        query = parameters(request, Listed)
        before = None
        if query.before is not None and query.before_at is not None:
            before = query.before_at, query.before
        with self._page.reader() as reader:
            return answer(reader.predictions(query.filter(), query.limit, before))

    def prediction(self, request: Request) -> Response:
        """One prediction."""
        return answer(self._row(request))

    def _row(self, request: Request) -> Row:
        number = int(request.path_params["number"])
        with self._page.reader() as reader:
            row = reader.prediction(number) if number < 2**52 else None
        if row is None:
            raise NotFound(f"there is no prediction {number}; it may have been pruned")
        return row

    # -- sound and pictures --------------------------------------------------------------------

    def sound(self, request: Request) -> Response:
        """The sound of one window as a WAV file. Byte ranges are answered."""
        row = self._row(request)
        samples, rate = self._page.sound(row)
        word = re.sub(r"[^A-Za-z0-9_.-]+", "_", row.label)
        return ranged(request, wav_bytes(samples, rate), f"{word}-{row.number}.wav")

    def picture(self, request: Request) -> Response:
        """What the model saw of one window, as a PNG: as published, or drawn from its sound."""
        row = self._row(request)
        png = self._page.pictures.get(row.id) or draw(*self._page.sound(row))
        headers = {"Cache-Control": "private, max-age=86400"}
        return Response(png, media_type="image/png", headers=headers)

    # -- reviews -------------------------------------------------------------------------------

    def to_review(self, request: Request) -> Response:
        """Predictions without a review: alternately the least certain and the most surprising."""
        query = parameters(request, Listed)
        with self._page.reader() as reader:
            return answer(reader.to_review(query.filter(), query.limit))

    def reviewed(self, request: Request) -> Response:
        """Reviews, the newest first."""
        query = parameters(request, Limited)
        with self._page.reader() as reader:
            return answer(list(reader.reviews(query.limit)))

    def take_back_number(self, request: Request) -> Response:
        """Take a review back by its own number, even if its prediction is pruned."""
        number = int(request.path_params["number"])
        if number > 2**52 or not reviews.take_back_number(self._page.store, number):
            raise NotFound(f"there is no review {number}")
        return answer({"number": number})

    async def review(self, request: Request) -> Response:
        """Say whether a prediction was right."""
        body = await request.body()
        try:
            review = msgspec.json.decode(body, type=reviews.Review)
        except msgspec.DecodeError as error:
            raise BadRequest(str(error)) from error
        row = self._row(request)
        try:
            reviews.add(self._page.store, row, review)
        except reviews.BadReview as error:
            raise BadRequest(str(error)) from error
        return answer(self._row(request))

    def take_back(self, request: Request) -> Response:
        """Take a review back."""
        row = self._row(request)
        if not reviews.take_back(self._page.store, row):
            raise NotFound(f"prediction {row.number} has no review")
        return answer(self._row(request))

    def data_set(self, request: Request) -> Response:
        """The reviewed sounds with their labels, as a data set in a zip."""
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the answer closes it
        with self._page.reader() as reader:
            reviews.write_data_set(file, reader.reviews(), self._page.sound)
        size = file.tell()
        file.seek(0)
        headers = {
            "Content-Disposition": 'attachment; filename="my-sounds.zip"',
            "Content-Length": str(size),
        }
        return StreamingResponse(chunks(file), media_type="application/zip", headers=headers)

    # -- sums ----------------------------------------------------------------------------------

    def heatmap(self, request: Request) -> Response:
        """Accepted predictions of one day by label and hour."""
        query = parameters(request, Span)
        day, zone = query.last(), query.where()
        with self._page.reader() as reader:
            labels = reader.heatmap(day, zone, query.source, query.daemon)
        edges = hours_of(day, zone)
        return answer(
            {"day": day.isoformat(), "zone": query.zone, "edges": edges, "labels": labels}
        )

    def days(self, request: Request) -> Response:
        """Accepted and rejected predictions of each day."""
        query = parameters(request, Span)
        last = query.last()
        first = last - timedelta(query.days - 1)
        with self._page.reader() as reader:
            return answer(
                reader.days(first, last, query.where(), query.label, query.source, query.daemon)
            )

    def labels(self, request: Request) -> Response:
        """Every label with its number of accepted and rejected predictions."""
        with self._page.reader() as reader:
            return answer(
                reader.table(
                    "SELECT name AS label, accepted, rejected FROM labels ORDER BY 2 DESC, 1"
                )
            )

    def scores(self, request: Request) -> Response:
        """How many events each threshold of a label would have given, over some days."""
        query = parameters(request, Span)
        if query.label is None:
            raise BadRequest("label: name one")
        since = round(1000 * time.time()) - DAY_MS * query.days
        with self._page.reader() as reader:
            return answer(reader.scores(query.label, since, query.source, query.daemon))

    def events(self, request: Request) -> Response:
        """Events, the newest first."""
        query = parameters(request, Listed)
        tests, values = _between("e.began", query)
        with self._page.reader() as reader:
            return answer(_events(reader, tests, values, query.limit))

    def files(self, request: Request) -> Response:
        """Files that reached their end state, the newest first."""
        return self._newest(
            request,
            "SELECT f.ended AS at, s.name AS source, f.path, f.state, f.windows, "
            "f.duration AS duration_s, f.error_code, f.error FROM files f "
            "JOIN sources s ON s.number = f.source",
            "f.ended",
        )

    def gaps(self, request: Request) -> Response:
        """Lost sound, the newest first."""
        return self._newest(
            request,
            "SELECT g.began AS at, s.name AS source, g.duration AS duration_s, g.reason "
            "FROM gaps g JOIN sources s ON s.number = g.source",
            "g.began",
        )

    def statuses(self, request: Request) -> Response:
        """Status messages, the newest first."""
        return self._newest(
            request,
            "SELECT t.at, d.node, t.what, t.source, t.code, t.text FROM statuses t "
            "JOIN daemons d ON d.number = t.daemon",
            "t.at",
            "t.number DESC",
        )

    def _newest(self, request: Request, select: str, column: str, *order: str) -> Response:
        """Rows of `select` whose time in `column` lies in the request's span, the newest first."""
        query = parameters(request, Listed)
        tests, values = _between(column, query)
        orders = ", ".join([f"{column} DESC", *order])
        where = f"WHERE {column} NOTNULL AND {tests} ORDER BY {orders} LIMIT ?"
        with self._page.reader() as reader:
            return answer(reader.table(f"{select} {where}", [*values, query.limit]))

    def health(self, request: Request) -> Response:
        """Backlog, windows and latency by minute, for each daemon."""
        query = parameters(request, Span)
        until = round(1000 * time.time())
        since = until - DAY_MS * query.days
        with self._page.reader() as reader:
            return answer(
                {
                    "store_bytes": self._page.store.size(),
                    "daemons": [
                        {**each.describe(), "minutes": reader.health(each.number, since, until)}
                        for each in self._page.followers
                    ],
                }
            )

    def export(self, request: Request) -> Response:
        """All chosen predictions as a file."""
        query = parameters(request, Listed)

        def lines() -> Iterator[bytes]:
            with self._page.reader() as reader:
                yield from export.FORMATS[query.format](reader.export(query.filter()))

        if query.format == "parquet":
            export.check_parquet()
        name = f"tinyast.{query.format}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(lines(), media_type=export.TYPES[query.format], headers=headers)


def _between(column: str, query: Listed) -> tuple[str, list[object]]:
    tests, values = ["1"], list[object]()
    for test, value in ((f"{column} >= ?", query.since), (f"{column} < ?", query.until)):
        if value is not None:
            tests, values = [*tests, test], [*values, value]
    return " AND ".join(tests), values


def _events(
    reader: Reader, tests: str, values: list[object], limit: int = 100
) -> list[dict[str, object]]:
    return reader.table(
        "SELECT e.id, s.daemon, s.kind, s.name AS source, l.name AS label, e.began, e.until, "
        "e.peak, e.windows, e.ended FROM events e JOIN sources s ON s.number = e.source "
        f"JOIN labels l ON l.number = e.label WHERE {tests} ORDER BY e.began DESC LIMIT ?",
        [*values, limit],
    )


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """A file in parts; closes it."""
    with file:
        while part := file.read(1 << 16):
            yield part


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
        case export.CannotExport():
            return failure(406, "cannot_export", str(error))
    return failure(503, "unavailable", str(error))


PARAMETERS: dict[str, type[Struct]] = {
    **dict.fromkeys(
        ("/predictions", "/review", "/events", "/files", "/gaps", "/statuses", "/export"), Listed
    ),
    "/reviews": Limited,
    **dict.fromkeys(("/heatmap", "/days", "/scores", "/health"), Span),
}
