"""Read the page's store for each view. Results are structs that the API encodes."""

from __future__ import annotations

import bisect
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import islice
from types import MappingProxyType
from zoneinfo import ZoneInfo

from msgspec import Struct

from daemon.page.store.filter import Filter, numbers_of
from daemon.page.store.recordings import count, recordings
from daemon.page.store.reviewing import Reviewed, next_numbers, reviewed
from daemon.page.store.thresholds import Thresholds, thresholds
from daemon.page.store.units import MILLION, MINUTE_MS, QUARTER_MS, TOP
from daemon.settings.schema import Decision, Events
from daemon.tables.annotations import Recording

MOST_MINUTES = 1_440  # points of a chart
AT_ONCE = 1_000  # rows of an export in memory


class Ranked(Struct, frozen=True):
    """A label and its score."""

    label: str
    score: float


class Row(Struct, frozen=True):
    """One prediction as a list shows it."""

    number: int
    id: str
    daemon: int
    node: str | None
    kind: str
    source: str
    path: str | None
    encoded: bool  # the path is percent-encoded
    file_id: str | None  # the version of the file
    at: int  # ms since 1970, of the recording
    published: int  # ms since 1970
    start_s: float
    length_s: float
    padded_s: float
    clock: str
    doubt: bool
    label: str
    score: float
    threshold: float
    decision: str
    reason: str | None
    level_dbfs: float
    latency_ms: int
    top: list[Ranked]
    model: str
    private: bool  # its sound is not to be heard
    verdict: str | None  # of a review
    corrected: str | None  # the label that a review gave


_SELECT = """
SELECT p.*, s.kind, s.name AS source_name, s.daemon, d.node, f.path, f.encoded, f.file_id,
       l.name AS label_name, m.name AS model_name, r.verdict, r.label AS corrected
FROM predictions p JOIN sources s ON s.number = p.source JOIN daemons d ON d.number = s.daemon
JOIN labels l ON l.number = p.label JOIN models m ON m.number = p.model
LEFT JOIN files f ON f.number = p.file
LEFT JOIN reviews r ON r.prediction = p.id AND r.source = p.source
"""


class Reader:
    """Queries over one reading connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._labels: dict[int, str] = {}

    def _label(self, number: int) -> str:
        if number not in self._labels:
            self._labels = dict(self._db.execute("SELECT number, name FROM labels").fetchall())
        return self._labels[number]

    def _rows(self, query: str, values: Sequence[object]) -> Iterator[Row]:
        for found in self._db.execute(query, tuple(values)):
            yield self._row(found)

    def _row(self, found: sqlite3.Row) -> Row:
        return Row(
            number=found["number"],
            id=found["id"].hex(),
            daemon=found["daemon"],
            node=found["node"],
            kind=found["kind"],
            source=found["source_name"],
            path=found["path"],
            encoded=bool(found["encoded"]),
            file_id=found["file_id"].hex() if found["file_id"] else None,
            at=found["at"],
            published=found["published"],
            start_s=found["start"] / 1000,
            length_s=found["length"] / 1000,
            padded_s=found["padded"] / 1000,
            clock=found["clock"] or "capture",
            doubt=bool(found["doubt"]),
            label=found["label_name"],
            score=found["score"] / MILLION,
            threshold=found["threshold"] / MILLION,
            decision="accepted" if found["reason"] is None else "rejected",
            reason=found["reason"],
            level_dbfs=found["level"] / 100,
            latency_ms=found["latency"],
            top=[
                Ranked(self._label(label), score / MILLION)
                for label, score in TOP.iter_unpack(found["top"])
            ],
            model=found["model_name"],
            private=bool(found["private"]),
            verdict=found["verdict"],
            corrected=found["corrected"],
        )

    # -- lists ---------------------------------------------------------------------------------

    def predictions(
        self, chosen: Filter, limit: int = 100, before: tuple[int, int] | None = None
    ) -> list[Row]:
        """Predictions, the newest first; `before` is the time and number of the last one seen."""
        where, values = chosen.where(self._db)
        if before is not None:
            where, values = f"{where} AND (p.at, p.number) < (?, ?)", [*values, *before]
        query = f"{_SELECT} WHERE {where} ORDER BY p.at DESC, p.number DESC LIMIT ?"
        return list(self._rows(query, [*values, limit]))

    def export(self, chosen: Filter) -> Iterator[Row]:
        """All predictions that match, the oldest first.

        In many queries: SQLite cannot reuse its log of changes while one is read, however slowly.
        """
        where, values = chosen.where(self._db)
        query = (
            f"{_SELECT} WHERE {where} AND (p.at, p.number) > (?, ?) ORDER BY p.at, p.number LIMIT ?"
        )
        last: tuple[int, int] | None = (-(2**62), 0)
        while last is not None:
            rows = list(self._rows(query, [*values, *last, AT_ONCE]))
            yield from rows
            last = (rows[-1].at, rows[-1].number) if len(rows) == AT_ONCE else None

    def recordings(self, chosen: Filter, join: bool) -> Iterator[Recording]:
        """Recordings of the chosen predictions; see `store.recordings`."""
        return recordings(self._db, chosen, join)

    def count_recordings(self, chosen: Filter, most: int) -> int:
        """The number of these recordings, at most `most`."""
        return count(self._db, chosen, most)

    def is_private(self, path: str, start_s: float, end_s: float) -> bool:
        """Whether this part of a file shares sound with a window that is not to be heard."""
        query = "SELECT 1 FROM voices WHERE path = ? AND start < ? AND until > ?"
        span = round(1000 * end_s), round(1000 * start_s)
        return self._db.execute(query, (path, *span)).fetchone() is not None

    def prediction(self, number: int) -> Row | None:
        return next(self._rows(f"{_SELECT} WHERE p.number = ?", [number]), None)

    def by_id(self, daemon: int, ids: Sequence[str]) -> list[Row]:
        """The predictions of a daemon with these `id`s, the newest first."""
        marks = ", ".join("?" * len(ids))
        query = (
            f"{_SELECT} WHERE p.id IN ({marks}) AND s.daemon = ? ORDER BY p.at DESC, p.number DESC"
        )
        return list(self._rows(query, [*map(bytes.fromhex, ids), daemon]))

    def to_review(self, chosen: Filter, limit: int) -> list[Row]:
        """Predictions without a review, those that teach most first."""
        numbers = next_numbers(self._db, chosen, limit)
        marks = ", ".join("?" * len(numbers))
        rows = self._rows(f"{_SELECT} WHERE p.number IN ({marks})", numbers)
        place = {number: n for n, number in enumerate(numbers)}
        return sorted(rows, key=lambda row: place[row.number])

    def reviews(self, limit: int | None = None) -> Iterator[Reviewed]:
        """Reviews, the newest first."""
        return islice(reviewed(self._db), limit)

    def table(self, query: str, values: Sequence[object] = ()) -> list[dict[str, object]]:
        """Rows of a plain query, by column."""
        return [dict(found) for found in self._db.execute(query, tuple(values))]

    # -- days and labels -----------------------------------------------------------------------

    def heatmap(
        self, day: date, zone: ZoneInfo, source: str | None, daemon: int | None
    ) -> dict[str, list[int]]:
        """Accepted predictions of each label by hour of one day in `zone`: 23, 24 or 25 hours."""
        edges = hours_of(day, zone)
        condition, values = _of_source(source, daemon)
        rows = self._db.execute(
            "SELECT l.name, c.quarter, sum(c.accepted) FROM counts c "
            "JOIN labels l ON l.number = c.label JOIN sources s ON s.number = c.source "
            f"WHERE c.quarter >= ? AND c.quarter < ? AND {condition} "
            "GROUP BY c.label, c.quarter HAVING sum(c.accepted) > 0",
            (edges[0] // QUARTER_MS, edges[-1] // QUARTER_MS, *values),
        )
        found: dict[str, list[int]] = {}
        for label, quarter, accepted in rows:
            hours = found.setdefault(label, [0] * (len(edges) - 1))
            hours[bisect.bisect_right(edges, quarter * QUARTER_MS) - 1] += accepted
        return dict(sorted(found.items(), key=lambda item: -sum(item[1])))

    def days(
        self,
        first: date,
        last: date,
        zone: ZoneInfo,
        label: str | None,
        source: str | None = None,
        daemon: int | None = None,
    ) -> list[tuple[str, int, int]]:
        """For each day with predictions: the day, accepted and rejected."""
        begin, end = midnight(first, zone), midnight(last + timedelta(1), zone)
        condition, values = _of_source(source, daemon)
        rows = self._db.execute(
            "SELECT c.quarter, sum(c.accepted), sum(c.rejected) FROM counts c "
            f"JOIN sources s ON s.number = c.source WHERE {condition} "
            "AND c.quarter >= ? AND c.quarter < ? "
            + ("AND c.label = (SELECT number FROM labels WHERE name = ?) " if label else "")
            + "GROUP BY c.quarter",
            (*values, begin // QUARTER_MS, end // QUARTER_MS, *([label] if label else [])),
        )
        sums: dict[str, tuple[int, int]] = {}
        for quarter, accepted, rejected in rows:
            day = datetime.fromtimestamp(quarter * QUARTER_MS / 1000, zone).date().isoformat()
            before = sums.get(day, (0, 0))
            sums[day] = before[0] + accepted, before[1] + rejected
        return [(day, *sums[day]) for day in sorted(sums)]

    def scores(
        self,
        label: str,
        since: int,
        source: str | None = None,
        daemon: int | None = None,
        threshold: float | None = None,
        rules: Mapping[int, Events] = MappingProxyType({}),
    ) -> Thresholds:
        """What a threshold of a label would have given since a time; see `store.thresholds`.

        Without one, it is that of the label's newest prediction.
        """
        if threshold is None:
            query = (
                "SELECT threshold FROM predictions WHERE label = (SELECT number FROM labels "
                "WHERE name = ?) ORDER BY at DESC LIMIT 1"
            )
            found = self._db.execute(query, (label,)).fetchone()
            threshold = found[0] / MILLION if found else Decision().threshold
        sources = numbers_of(self._db, source, daemon)
        return thresholds(self._db, label, since, sources, threshold, rules)

    def health(self, daemon: int, since: int, until: int) -> list[dict[str, object]]:
        """How a daemon was between two times, in steps of a minute or longer.

        `windows` and `silent` are for one minute, `starts` are of the whole step.
        """
        first, last = since // MINUTE_MS, until // MINUTE_MS
        step = 1 + (last - first) // MOST_MINUTES
        return self.table(
            "SELECT minute / ?1 * ?1 * 60000 AS at, "
            "max(files) AS files, max(messages) AS messages, "
            "sum(windows) * 1.0 / ?1 AS windows, sum(latency) * 1.0 / nullif(sum(windows), 0) "
            "AS latency_ms, sum(silent) * 1.0 / ?1 AS silent, sum(starts) AS starts, "
            "max(journal) AS journal_bytes, max(store) AS store_bytes FROM health "
            "WHERE daemon = ?2 AND minute BETWEEN ?3 AND ?4 GROUP BY minute / ?1 ORDER BY minute",
            (step, daemon, first, last),
        )


def _of_source(source: str | None, daemon: int | None) -> tuple[str, list[object]]:
    words, values = ["1"], list[object]()
    if source is not None:
        words, values = [*words, "s.name = ?"], [*values, source]
    if daemon is not None:
        words, values = [*words, "s.daemon = ?"], [*values, daemon]
    return " AND ".join(words), values


def midnight(day: date, zone: ZoneInfo) -> int:
    """The start of a day in a zone, in ms since 1970."""
    return round(1000 * datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


def hours_of(day: date, zone: ZoneInfo) -> list[int]:
    """The edges of a day's hours, in ms since 1970: 24, 25 or 26 of them."""
    begin, end = midnight(day, zone), midnight(day + timedelta(1), zone)
    edges = list(range(begin, end, 3_600_000))
    return [*edges, end]
