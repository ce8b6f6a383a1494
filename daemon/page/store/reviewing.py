"""Which prediction to review next, and the reviews made."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import chain, zip_longest
from math import log

from msgspec import Struct

from daemon.page.store.filter import Filter
from daemon.page.store.units import MILLION

POOL = 5_000  # the newest predictions without a review, among which the next ones are chosen


class Reviewed(Struct, frozen=True):
    """A review, with all it takes to cut the sound: it outlives its prediction."""

    number: int
    id: str  # of the prediction's message
    prediction: int | None  # its number; null once it is pruned
    daemon: int
    kind: str
    source: str
    path: str | None
    encoded: bool  # the path is percent-encoded
    file_id: str | None  # the version of the file
    published: int  # ms since 1970; of the prediction; once it is pruned, of the file's end
    at: int  # ms since 1970, of the recording
    start_s: float
    length_s: float
    heard: str  # the label that the model gave
    score: float
    verdict: str
    label: str | None  # the right one, if known
    reviewed: int  # ms since 1970


def next_numbers(db: sqlite3.Connection, chosen: Filter, limit: int) -> list[int]:
    """Numbers of predictions to review: alternately the least certain and the most surprising one.

    Least certain: the nearest to its threshold. Surprising: a high score of a label that is rare
    among the newest predictions, by score * log(all / those of the label).
    """
    where, values = chosen.where(db)
    pool = db.execute(
        "SELECT p.number, p.label, p.score, p.threshold FROM predictions p "
        f"LEFT JOIN files f ON f.number = p.file WHERE {where} "
        "AND NOT p.private AND p.reason IS NOT 'silence' AND NOT EXISTS "
        "(SELECT 1 FROM reviews r WHERE r.prediction = p.id AND r.source = p.source) "
        "ORDER BY p.at DESC LIMIT ?",
        (*values, POOL),
    ).fetchall()
    heard = Counter(row["label"] for row in pool)
    uncertain = sorted(pool, key=lambda row: abs(row["score"] - row["threshold"]))
    surprising = sorted(pool, key=lambda row: -row["score"] * log(len(pool) / heard[row["label"]]))
    turns = chain.from_iterable(zip_longest(uncertain, surprising))
    return list(dict.fromkeys(int(row["number"]) for row in turns))[:limit]


def reviewed(
    db: sqlite3.Connection, condition: str = "1", values: tuple[object, ...] = ()
) -> Iterator[Reviewed]:
    """Reviews, the newest first."""
    for row in db.execute(
        "SELECT r.*, s.daemon, s.kind, s.name AS source_name, f.path, f.encoded, "
        "f.file_id, coalesce(p.published, f.ended, r.reviewed) AS published, "
        "l.name AS heard_name, p.number AS prediction_number FROM reviews r "
        "JOIN sources s ON s.number = r.source JOIN labels l ON l.number = r.heard "
        "LEFT JOIN files f ON f.number = r.file "
        "LEFT JOIN predictions p ON p.id = r.prediction AND p.source = r.source "
        f"WHERE {condition} ORDER BY r.reviewed DESC, r.number DESC",
        values,
    ):
        yield Reviewed(
            number=row["number"],
            id=row["prediction"].hex(),
            prediction=row["prediction_number"],
            daemon=row["daemon"],
            kind=row["kind"],
            source=row["source_name"],
            path=row["path"],
            encoded=bool(row["encoded"]),
            file_id=row["file_id"].hex() if row["file_id"] else None,
            published=row["published"],
            at=row["at"],
            start_s=row["start"] / 1000,
            length_s=row["length"] / 1000,
            heard=row["heard_name"],
            score=row["score"] / MILLION,
            verdict=row["verdict"],
            label=row["label"],
            reviewed=row["reviewed"],
        )
