"""Fill a page's store with made predictions and events, to measure its views at full size."""

from __future__ import annotations

import random
import sqlite3
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

STORE = "page.sqlite3"
LABELS = 50
SOURCES = (("mic", "door"), ("mic", "garden"), ("file", "recorder"))
DAYS = 30.0  # over which the predictions are spread
PER_FILE = 12  # windows: a file of a minute
TOP = struct.Struct("<HI")  # label and score in millionths, as the page packs them
REASONS = (None, "below_threshold", "silence", "unknown")


def fill(folder: Path, predictions: int, events: int, days: float = DAYS, seed: int = 1) -> float:
    """Add made rows to the store in `folder`, which a page has made and no page has open.

    The first source gets half of the predictions, the others a quarter each; labels are as
    uneven as sounds are (the first is a fifth of them). Returns the bytes that the file grew by.
    """
    path, chance = folder / STORE, random.Random(seed)
    now = round(1000 * time.time())
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA cache_size = -400000")  # kB
        before = _bytes(db)
        db.execute("BEGIN")
        db.execute("INSERT OR IGNORE INTO daemons (number, endpoint) VALUES (1, 'made')")
        sources = [_number(db, "sources", daemon=1, kind=k, name=n) for k, n in SOURCES]
        labels = [_number(db, "labels", name=f"made_{number}") for number in range(LABELS)]
        model = _number(db, "models", name="made 1")
        columns = _columns(db, "predictions")
        marks = ", ".join("?" * len(columns))
        rows = _rows(chance, (now, days), predictions, sources, labels, model)
        db.executemany(
            f"INSERT INTO predictions ({', '.join(columns)}) VALUES ({marks})",
            (tuple(row.get(name, 0) for name in columns) for row in _with_files(db, rows)),
        )
        _count(db)
        db.executemany(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            _events(chance, (now, days), events, sources, labels),
        )
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return _bytes(db) - before


def fill_health(folder: Path, daemon: int, seed: int = 1) -> None:
    """Make the last day of the view Health: a microphone at work, and folders that are filled."""
    chance, now = random.Random(seed), int(time.time()) // 60
    with closing(sqlite3.connect(folder / STORE)) as db, db:
        for minute in range(now - 1_440, now - 1):
            busy = max(0, 90 - (minute * 7) % 360) * (minute % 480 > 300)
            windows = 24 + 4 * busy
            silent = chance.randrange(6) if minute % 1_440 < 400 else 0
            grown = minute - now + 1_440
            db.execute(
                "INSERT OR REPLACE INTO health (daemon, minute, files, messages, windows, latency, "
                "silent, journal, store) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (daemon, minute, busy, 0, windows, windows * chance.randrange(30, 60), silent,
                 20_000_000 + 52_000 * grown, 9_000_000 + 9_000 * grown),
            )  # fmt: skip


def _bytes(db: sqlite3.Connection) -> int:
    size, count = (db.execute(f"PRAGMA {n}").fetchone()[0] for n in ("page_size", "page_count"))
    return int(size * count)


def _columns(db: sqlite3.Connection, table: str) -> list[str]:
    names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    return [name for name in names if name != "number"]


def _number(db: sqlite3.Connection, table: str, **values: object) -> int:
    marks = ", ".join("?" * len(values))
    names, given = ", ".join(values), tuple(values.values())
    done = db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", given)
    return int(done.lastrowid or 0)


def _rows(
    chance: random.Random,
    until: tuple[int, float],
    count: int,
    sources: list[int],
    labels: list[int],
    model: int,
) -> Iterator[dict[str, object]]:
    """Predictions in the order in which they were heard, by column."""
    now, days = until
    step = 86_400_000 * days / count
    shares = [1 / (1 + rank) for rank in range(len(labels))]
    drawn = chance.choices(labels, shares, k=count)
    for number, label in enumerate(drawn):
        source = number % 4 % 3
        score = round(1e6 * chance.betavariate(1.2, 0.8))
        at = now - round(step * (count - number))
        reason = None if score > 750_000 else chance.choice(REASONS[1:])
        yield {
            "id": chance.randbytes(16), "source": sources[source], "file": None, "at": at,
            "published": at + 40, "start": 5000 * (number % PER_FILE), "length": 5000, "padded": 0,
            "clock": None if source < 2 else "name", "doubt": 0, "label": label, "score": score,
            "threshold": 750_000, "reason": reason, "level": -chance.randrange(1000, 7000),
            "latency": 40, "model": model,
            "top": b"".join(TOP.pack(each, score >> n) for n, each in enumerate(labels[:5])),
        }  # fmt: skip


def _with_files(
    db: sqlite3.Connection, rows: Iterator[dict[str, object]]
) -> Iterator[dict[str, object]]:
    """The same rows; those of folders belong to files of a minute each."""
    file, left = None, 0
    for row in rows:
        if row["clock"] is not None:
            if left == 0:
                path = f"/srv/sounds/recorder/2026-05/{row['at']}-backyard.wav"
                file, left = _file(db, row, path), PER_FILE
            row["file"], left = file, left - 1
        yield row


def _file(db: sqlite3.Connection, row: dict[str, object], path: str) -> int:
    identity = str(row["at"]).rjust(16, "0").encode()
    done = db.execute(
        "INSERT INTO files (source, file_id, path, ended, state, windows, duration) "
        "VALUES (?, ?, ?, ?, 'done', ?, ?)",
        (row["source"], identity, path, row["published"], PER_FILE, 5.0 * PER_FILE),
    )
    return int(done.lastrowid or 0)


def _count(db: sqlite3.Connection) -> None:
    """Make the sums that the page keeps beside the predictions."""
    db.execute("DELETE FROM counts")
    db.execute(
        "INSERT INTO counts SELECT at / 900000, source, label, sum(reason IS NULL), "
        "sum(reason NOTNULL) FROM predictions GROUP BY 1, 2, 3"
    )
    for column in ("accepted", "rejected"):
        db.execute(
            f"UPDATE labels SET {column} = "
            f"(SELECT coalesce(sum({column}), 0) FROM counts WHERE label = labels.number)"
        )
    db.execute(
        "INSERT OR REPLACE INTO health (daemon, minute, files, messages, windows, latency) "
        "SELECT 1, published / 60000, 3, 0, count(*), sum(latency) FROM predictions GROUP BY 2"
    )


def _events(
    chance: random.Random,
    until: tuple[int, float],
    count: int,
    sources: list[int],
    labels: list[int],
) -> Iterator[tuple[object, ...]]:
    now, days = until
    for number in range(count):
        at = now - round(86_400_000 * days * (count - number) / count)
        source, label = chance.choice(sources[:2]), chance.choice(labels)
        lasted = chance.randrange(5_000, 60_000)
        yield f"{number:032x}", source, label, at, at + lasted, 0.9, 4, "ended"
