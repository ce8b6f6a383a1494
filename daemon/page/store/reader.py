"""Read the page's store: what each view shows. Results are structs that the API encodes."""

from __future__ import annotations

import bisect
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from daemon.page.store.writer import MILLION, MINUTE_MS, QUARTER_MS, TOP

BINS = 50  # of a histogram of scores
MOST_SCORES = 200_000  # read for one histogram, the newest
EVENT_GAP_MS = 10_000  # windows of one label that are nearer than this are one event


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
    verdict: str | None  # of a review
    corrected: str | None  # the label that a review gave


class Filter(Struct, frozen=True):
    """Which predictions a list, an export or a review takes. Times are ms since 1970."""

    since: int | None = None
    until: int | None = None
    label: str | None = None
    source: str | None = None
    daemon: int | None = None
    decision: str | None = None
    min_score: float | None = None
    max_score: float | None = None
    text: str | None = None  # part of the path

    def where(self) -> tuple[str, list[object]]:
        """The condition in SQL and its values."""
        tests: list[tuple[str, object]] = []
        for test, value in (
            ("p.at >= ?", self.since),
            ("p.at < ?", self.until),
            ("p.label = (SELECT number FROM labels WHERE name = ?)", self.label),
            ("s.name = ?", self.source),
            ("s.daemon = ?", self.daemon),
            ("p.score >= ?", None if self.min_score is None else self.min_score * MILLION),
            ("p.score <= ?", None if self.max_score is None else self.max_score * MILLION),
            ("instr(f.path, ?) > 0", self.text or None),
        ):
            if value is not None:
                tests.append((test, value))
        words = [test for test, _ in tests]
        if self.decision is not None:
            words.append("p.reason IS NULL" if self.decision == "accepted" else "p.reason NOTNULL")
        return " AND ".join(words) or "1", [value for _, value in tests]


_SELECT = """
SELECT p.*, s.kind, s.name AS source_name, s.daemon, d.node, f.path, f.encoded,
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
            verdict=found["verdict"],
            corrected=found["corrected"],
        )

    # -- lists ---------------------------------------------------------------------------------

    def predictions(
        self, chosen: Filter, limit: int = 100, before: tuple[int, int] | None = None
    ) -> list[Row]:
        """Predictions, the newest first; `before` is the time and number of the last one seen."""
        where, values = chosen.where()
        if before is not None:
            where, values = f"{where} AND (p.at, p.number) < (?, ?)", [*values, *before]
        query = f"{_SELECT} WHERE {where} ORDER BY p.at DESC, p.number DESC LIMIT ?"
        return list(self._rows(query, [*values, limit]))

    def export(self, chosen: Filter) -> Iterator[Row]:
        """All predictions that match, the oldest first."""
        where, values = chosen.where()
        return self._rows(f"{_SELECT} WHERE {where} ORDER BY p.at, p.number", values)

    def prediction(self, number: int) -> Row | None:
        return next(self._rows(f"{_SELECT} WHERE p.number = ?", [number]), None)

    def by_ids(self, ids: Sequence[bytes]) -> list[Row]:
        """The predictions of these message ids, oldest first."""
        marks = ", ".join("?" * len(ids))
        return list(self._rows(f"{_SELECT} WHERE p.id IN ({marks}) ORDER BY p.number", ids))

    def uncertain(self, chosen: Filter, limit: int) -> list[Row]:
        """Predictions without a review, those nearest to their threshold first."""
        where, values = chosen.where()
        recent = f"SELECT p.number FROM predictions p JOIN sources s ON s.number = p.source \
LEFT JOIN files f ON f.number = p.file WHERE {where} ORDER BY p.at DESC LIMIT 5000"
        query = (
            f"{_SELECT} WHERE p.number IN ({recent}) AND r.number IS NULL "
            "AND p.reason IS NOT 'silence' ORDER BY abs(p.score - p.threshold), p.number LIMIT ?"
        )
        return list(self._rows(query, [*values, limit]))

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
        self, first: date, last: date, zone: ZoneInfo, label: str | None
    ) -> list[tuple[str, int, int]]:
        """For each day with predictions: the day, accepted and rejected."""
        begin, end = midnight(first, zone), midnight(last + timedelta(1), zone)
        rows = self._db.execute(
            "SELECT c.quarter, sum(c.accepted), sum(c.rejected) FROM counts c "
            "WHERE c.quarter >= ? AND c.quarter < ? "
            + ("AND c.label = (SELECT number FROM labels WHERE name = ?) " if label else "")
            + "GROUP BY c.quarter",
            (begin // QUARTER_MS, end // QUARTER_MS, *([label] if label else [])),
        )
        sums: dict[str, tuple[int, int]] = {}
        for quarter, accepted, rejected in rows:
            day = datetime.fromtimestamp(quarter * QUARTER_MS / 1000, zone).date().isoformat()
            before = sums.get(day, (0, 0))
            sums[day] = before[0] + accepted, before[1] + rejected
        return [(day, *sums[day]) for day in sorted(sums)]

    def scores(self, label: str, since: int) -> dict[str, object]:
        """What each threshold would have given: a histogram, events an hour, reviews."""
        rows = self._db.execute(
            "SELECT p.score, p.source, p.at FROM predictions p WHERE p.label = "
            "(SELECT number FROM labels WHERE name = ?) AND p.at >= ? ORDER BY p.at DESC LIMIT ?",
            (label, since, MOST_SCORES),
        ).fetchall()
        counts = [0] * BINS
        for score, _, _ in rows:
            counts[min(BINS - 1, score * BINS // MILLION)] += 1
        reviewed = [[0, 0] for _ in range(BINS)]
        for score, verdict in self._db.execute(
            "SELECT score, verdict FROM reviews WHERE heard = "
            "(SELECT number FROM labels WHERE name = ?) AND verdict != 'ignore'",
            (label,),
        ):
            reviewed[min(BINS - 1, score * BINS // MILLION)][verdict != "right"] += 1
        span = (rows[0][2] - rows[-1][2]) / 3_600_000 if len(rows) > 1 else 0.0
        return {
            "label": label,
            "predictions": counts,
            "events": [_events(rows, number * MILLION // BINS) for number in range(BINS)],
            "right": [right for right, _ in reviewed],
            "wrong": [wrong for _, wrong in reviewed],
            "hours": round(span, 2),
        }

    def health(self, daemon: int, since: int) -> list[dict[str, object]]:
        """Backlog, windows and mean latency of each minute since a time."""
        return self.table(
            "SELECT minute * 60000 AS at, files, messages, windows, "
            "CASE WHEN windows THEN latency * 1.0 / windows END AS latency_ms "
            "FROM health WHERE daemon = ? AND minute >= ? ORDER BY minute",
            (daemon, since // MINUTE_MS),
        )


def _events(rows: Sequence[sqlite3.Row], least: int) -> int:
    """Events if every window that scores at least `least` counted: runs without a long pause."""
    newest: dict[int, int] = {}
    events = 0
    for score, source, at in rows:  # newest first
        if score >= least:
            events += newest.get(source, at + EVENT_GAP_MS + 1) - at > EVENT_GAP_MS
            newest[source] = at
    return events


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
