"""Delete old or excess data: predictions and their details, a part at a time."""

from __future__ import annotations

import sqlite3
import time

from msgspec import Struct

from daemon.page.store.units import DAY_MS, MINUTE_MS

ROWS = 5_000  # predictions that one transaction deletes


class Limits(Struct, frozen=True):
    """How much the store keeps of predictions, events, gaps and statuses."""

    keep_days: float = 365.0
    keep_mb: float = 1000.0


def prune(db: sqlite3.Connection, limits: Limits) -> int:
    """Delete rows in the transaction of `db`; the number of predictions deleted."""
    oldest = int(1000 * time.time() - DAY_MS * limits.keep_days)
    sizes = [
        db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_size", "page_count", "freelist_count")
    ]
    too_much = sizes[0] * (sizes[1] - sizes[2]) > 1e6 * limits.keep_mb
    # By when they came: recordings of other years that are dropped today are new here.
    query = (
        "DELETE FROM predictions WHERE number IN (SELECT number FROM (SELECT number, published "
        f"FROM predictions ORDER BY number LIMIT {ROWS}) WHERE {too_much} OR published < ?)"
    )
    gone = db.execute(query, (oldest,)).rowcount
    first = "SELECT published FROM predictions ORDER BY number LIMIT 1"
    row = db.execute(first).fetchone() or (oldest,)
    limit = max(oldest, row[0]) if too_much else oldest
    db.execute("DELETE FROM events WHERE began < ? AND ended IS NOT NULL", (limit,))
    db.execute("DELETE FROM gaps WHERE began < ?", (limit,))
    db.execute("DELETE FROM statuses WHERE at < ?", (limit,))
    db.execute("DELETE FROM health WHERE minute < ?", (limit // MINUTE_MS,))
    if gone:
        db.execute(
            "DELETE FROM files WHERE coalesce(ended, 0) < ? AND NOT EXISTS "
            "(SELECT 1 FROM predictions p WHERE p.file = files.number) AND number "
            "NOT IN (SELECT file FROM reviews WHERE file NOTNULL)",
            (limit,),
        )
        db.execute("DELETE FROM voices WHERE path NOT IN (SELECT path FROM files)")
    return int(gone)
