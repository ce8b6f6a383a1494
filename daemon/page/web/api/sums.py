"""What is summed up over hours and days, and what else daemons publish: events, files, gaps."""

from __future__ import annotations

import time
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from daemon.page.store.reader import Reader, hours_of
from daemon.page.web.api.answers import answer
from daemon.page.web.api.parameters import BadRequest, Listed, Scored, Span, parameters
from daemon.page.web.shared import Page

DAY_MS = 86_400_000


class Sums:
    """Handlers."""

    def __init__(self, page: Page) -> None:
        self._page = page

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
        """A label's scores over some days, and how many events a threshold would have given."""
        query = parameters(request, Scored)
        if query.label is None:
            raise BadRequest("label: name one")
        since = round(1000 * time.time()) - DAY_MS * query.days
        rules = {each.number: each.events for each in self._page.followers}
        with self._page.reader() as reader:
            return answer(
                reader.scores(
                    query.label, since, query.source, query.daemon, query.threshold, rules
                )
            )

    def events(self, request: Request) -> Response:
        """Events, the newest first."""
        query = parameters(request, Listed)
        tests, values = _between("e.began", query)
        with self._page.reader() as reader:
            return answer(events_of(reader, tests, values, query.limit))

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


def _between(column: str, query: Listed) -> tuple[str, list[object]]:
    tests, values = ["1"], list[object]()
    for test, value in ((f"{column} >= ?", query.since), (f"{column} < ?", query.until)):
        if value is not None:
            tests, values = [*tests, test], [*values, value]
    return " AND ".join(tests), values


def events_of(
    reader: Reader, tests: str, values: list[object], limit: int = 100
) -> list[dict[str, object]]:
    return reader.table(
        "SELECT e.id, s.daemon, s.kind, s.name AS source, l.name AS label, e.began, e.until, "
        "e.peak, e.windows, e.ended FROM events e JOIN sources s ON s.number = e.source "
        f"JOIN labels l ON l.number = e.label WHERE {tests} ORDER BY e.began DESC LIMIT ?",
        [*values, limit],
    )
