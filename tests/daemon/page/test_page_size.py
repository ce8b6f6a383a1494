"""A large store: each view reads a small part of it, and a prediction takes little room."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from running import stress

from daemon.page.store.filter import Filter
from daemon.page.store.pruning import Limits
from daemon.page.store.reader import Reader
from daemon.page.store.writer import Store
from scripts.benchmark.stored import DAYS, fill

PREDICTIONS = stress(1_000_000, 20_000)
SPAN_DAYS = DAYS * PREDICTIONS / 1_000_000  # as dense as the full store
DAY_MS = 86_400_000
ZONE = ZoneInfo("Europe/Berlin")
# Instructions of SQLite's machine: about 50 ms on one core. A scan of all predictions takes some
# five for each of them, and a sort of them more.
MOST_STEPS = 2_500_000
# Views that find what they show by an index: fewer steps than there are predictions.
FOUND = ("now", "now of a source without predictions", "list", "a rare label",
         "a rare label on any day", "no such text", "calendar")  # fmt: skip
COMMON, RARE = "made_0", "made_49"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, float]]:
    """A store, and the bytes that filling it took."""
    folder = tmp_path_factory.mktemp("full")
    Store(folder).close()
    grew = fill(folder, PREDICTIONS, PREDICTIONS // 20, SPAN_DAYS)
    store = Store(folder)
    yield store, grew
    store.close()


def yesterday(**chosen: object) -> Filter:
    now = round(1000 * time.time())
    return Filter(since=now - 2 * DAY_MS, until=now - DAY_MS, **chosen)  # type: ignore[arg-type]


TODAY = datetime.now(ZONE).date()
NOW_MS = round(1000 * time.time())
VIEWS: dict[str, Callable[[Reader], object]] = {
    "now": lambda r: r.predictions(Filter(source="door", daemon=1), 24),
    "now of a source without predictions": lambda r: r.predictions(Filter(source="none"), 24),
    "list": lambda r: r.predictions(yesterday()),
    "a rare label": lambda r: r.predictions(yesterday(label=RARE, decision="accepted")),
    "a rare label on any day": lambda r: r.predictions(Filter(label=RARE, source="garden")),
    "no such text": lambda r: r.predictions(Filter(text="no such text")),
    "best scores": lambda r: r.predictions(yesterday(min_score=0.9999)),
    "heat map": lambda r: r.heatmap(TODAY - timedelta(1), ZONE, None, None),
    "calendar": lambda r: r.days(TODAY - timedelta(59), TODAY, ZONE, COMMON),
    "thresholds": lambda r: r.scores(COMMON, 0),
    "review": lambda r: r.to_review(Filter(), 50),
    "health": lambda r: r.health(1, NOW_MS - DAY_MS, NOW_MS),
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_reads_a_small_part_of_the_store(full: tuple[Store, float], view: str) -> None:
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1_000
        return 0

    db = full[0].connect()
    db.set_progress_handler(step, 1_000)
    try:
        VIEWS[view](Reader(db))
    finally:
        db.close()
    assert steps < (min(MOST_STEPS, PREDICTIONS) if view in FOUND else MOST_STEPS)


EXPORTS: dict[str, Callable[[Reader], Iterator[object]]] = {
    "rows": lambda r: r.export(Filter()),
    "rows of a label": lambda r: r.export(Filter(label=COMMON)),
    "recordings": lambda r: r.recordings(Filter(), join=False),
    "recordings of a label": lambda r: r.recordings(Filter(label=COMMON), join=False),
}


@pytest.mark.parametrize("kind", EXPORTS)
def test_an_export_that_is_read_slowly_keeps_no_old_state(
    full: tuple[Store, float], kind: str
) -> None:
    """SQLite's log of changes grows for as long as anybody reads a state of the store."""
    store = full[0]
    db = store.connect()
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1_000
        return 0

    db.set_progress_handler(step, 1_000)
    rows = EXPORTS[kind](Reader(db))
    next(rows)
    with store.write() as writing:
        writing.execute("INSERT OR REPLACE INTO tokens VALUES (?, ?, ?)", (kind, b"", 0))
    with closing(sqlite3.connect(store.path)) as other:
        busy, *_ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert not busy
    count = 1 + sum(1 for _ in rows)
    db.close()
    assert count > PREDICTIONS / 1_000
    assert steps < 100 * PREDICTIONS


def test_a_prediction_takes_under_250_bytes(full: tuple[Store, float]) -> None:
    assert full[1] / PREDICTIONS < 250


def test_sums_are_those_of_the_rows(full: tuple[Store, float]) -> None:
    db = full[0].connect()
    reader = Reader(db)
    (label,) = reader.table("SELECT accepted, rejected FROM labels WHERE name = ?", [COMMON])
    # Midnight may pass while the tests run.
    days = reader.days(TODAY - timedelta(SPAN_DAYS + 1), TODAY + timedelta(1), ZONE, COMMON)
    assert (sum(a for _, a, _ in days), sum(r for _, _, r in days)) == tuple(label.values())
    (rows,) = reader.table(
        "SELECT count(*) AS n FROM predictions WHERE reason IS NULL AND label = "
        "(SELECT number FROM labels WHERE name = ?)",
        [COMMON],
    )
    assert rows["n"] == label["accepted"]
    db.close()


def test_pruning_a_large_store(tmp_path: Path) -> None:
    """It deletes the files of deleted rows, and no others."""
    Store(tmp_path).close()
    fill(tmp_path, 2_000, 100)
    store = Store(tmp_path, Limits(keep_days=DAYS / 2))
    gone = store.prune()
    db = store.connect()
    left, files, used = db.execute(
        "SELECT count(*), (SELECT count(*) FROM files), count(DISTINCT file) FROM predictions"
    ).fetchone()
    db.close()
    store.close()
    assert gone == pytest.approx(1_000, abs=2)
    assert (left, files) == (2_000 - gone, used)
