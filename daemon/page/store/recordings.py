"""Predictions by recording, as programs that annotate sound want them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime

from msgspec.structs import replace

from daemon.page.store.filter import Filter
from daemon.page.store.units import MILLION, TOP
from daemon.tables.annotations import Detection, Recording, joined

OTHERS = 2  # alternatives beside a label


def recordings(db: sqlite3.Connection, chosen: Filter, join: bool) -> Iterator[Recording]:
    """The recordings of the chosen predictions, each with these in the order of time.

    Accepted ones alone, unless the filter asks for others. A recording is a file, or the clip that
    a microphone kept of one window; predictions whose sound was not kept belong to none. `join`
    makes one of neighbours with the same label.
    """
    chosen = replace(chosen, decision=chosen.decision or "accepted")
    where, values = chosen.where(db)
    names = dict(db.execute("SELECT number, name FROM labels").fetchall())
    matching = "JOIN files f ON f.number = p.file JOIN sources s ON s.number = p.source"
    found = db.execute(
        f"SELECT DISTINCT p.file FROM predictions p {matching} WHERE {where} ORDER BY 1", values
    )
    query = (
        "SELECT f.path, f.duration, s.kind, p.at, p.start, p.length, p.label, p.score, "
        f"p.top, r.label AS corrected FROM predictions p INDEXED BY prediction_files {matching} "
        "LEFT JOIN reviews r ON r.prediction = p.id AND r.source = p.source "
        f"WHERE {where} AND p.file = ? ORDER BY p.start"
    )
    # A query for each: SQLite cannot reuse its log of changes while one is read, however slowly.
    for (file,) in found.fetchall():
        rows = db.execute(query, (*values, file)).fetchall()
        if not rows:  # they were pruned meanwhile
            continue
        first = rows[0]
        detections = [_detection(row, names) for row in rows]
        last = max(each.end_s for each in detections)
        yield Recording(
            first["path"],
            max(first["duration"] or 0.0, last),  # a file in work has no duration yet
            tuple(joined(detections) if join else detections),
        )


def count(db: sqlite3.Connection, chosen: Filter, most: int) -> int:
    """The number of recordings, `most` if there are as many or more."""
    chosen = replace(chosen, decision=chosen.decision or "accepted")
    where, values = chosen.where(db)
    query = (
        "SELECT count(*) FROM (SELECT DISTINCT p.file FROM predictions p "
        f"JOIN files f ON f.number = p.file WHERE {where} LIMIT ?)"
    )
    return int(db.execute(query, (*values, most)).fetchone()[0])


def _detection(row: sqlite3.Row, names: dict[int, str]) -> Detection:
    start = 0.0 if row["kind"] == "mic" else row["start"] / 1000  # a clip holds one window alone
    stamp = datetime.fromtimestamp(row["at"] / 1000, UTC)
    others = [names[label] for label, _ in TOP.iter_unpack(row["top"])][1 : OTHERS + 1]
    return Detection(
        row["path"],
        start,
        start + row["length"] / 1000,
        names[row["label"]],
        row["score"] / MILLION,
        stamp.isoformat(timespec="milliseconds"),
        tuple(others),
        row["corrected"] or "",
    )
