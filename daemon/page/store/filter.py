"""Choose predictions: a filter, and the SQL that finds its rows by an index."""

from __future__ import annotations

import sqlite3

from msgspec import Struct

from daemon.page.store.units import MILLION

FEW_FILES = 1_000  # up to which the rows of a text are found through its files


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

    def where(self, db: sqlite3.Connection) -> tuple[str, list[object]]:
        """The condition in SQL on `predictions p` and `files f`, and its values.

        SQLite chooses one index. A `+` keeps it from those that would read more rows.
        """
        tests: list[tuple[str, list[object]]] = []
        for test, value in (("p.at >= ?", self.since), ("p.at < ?", self.until)):
            if value is not None:
                tests.append((test, [value]))
        for test, score in (("p.score >= ?", self.min_score), ("p.score <= ?", self.max_score)):
            if score is not None:
                tests.append((test, [score * MILLION]))
        if self.label is not None:
            tests.append(("p.label = (SELECT number FROM labels WHERE name = ?)", [self.label]))
        if self.decision is not None:
            tests.append(
                ("p.reason IS NULL" if self.decision == "accepted" else "p.reason NOTNULL", [])
            )
        tests += self._of_sources(db) + self._of_files(db)
        words = " AND ".join(test for test, _ in tests)
        return words or "1", [value for _, values in tests for value in values]

    def _of_sources(self, db: sqlite3.Connection) -> list[tuple[str, list[object]]]:
        if self.source is None and self.daemon is None:
            return []
        numbers = numbers_of(db, self.source, self.daemon)
        if len(numbers) == 1:
            column = "p.source" if self.label is None else "+p.source"
            return [(f"{column} = ?", [*numbers])]
        return [(f"+p.source IN ({', '.join('?' * len(numbers))})", [*numbers])]

    def _of_files(self, db: sqlite3.Connection) -> list[tuple[str, list[object]]]:
        """Few files are named. With more of them, rows that match are met soon on any way."""
        if not self.text:
            return []
        query = "SELECT number FROM files WHERE instr(path, ?) > 0 LIMIT ?"
        found = db.execute(query, (self.text, FEW_FILES + 1)).fetchall()
        if len(found) > FEW_FILES:
            return [("instr(f.path, ?) > 0", [self.text])]
        return [(f"p.file IN ({', '.join('?' * len(found))})", [row[0] for row in found])]


def numbers_of(db: sqlite3.Connection, source: str | None, daemon: int | None) -> list[int]:
    """The numbers of the sources with this name, of this daemon, or of all."""
    found = db.execute(
        "SELECT number FROM sources "
        "WHERE name = coalesce(?, name) AND daemon = coalesce(?, daemon)",
        (source, daemon),
    )
    return [int(row[0]) for row in found]
