"""The page's store: each message once, days as people count them, limits, reviews that stay."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest

from daemon.errors import StartError
from daemon.page import reviews
from daemon.page.drawing import draw
from daemon.page.showing import AT_ONCE, Shower
from daemon.page.store.filter import Filter
from daemon.page.store.pictures import Pictures
from daemon.page.store.pruning import Limits
from daemon.page.store.reader import Reader, Row, hours_of
from daemon.page.store.schema import FILE, VERSION
from daemon.page.store.units import DAY_MS
from daemon.page.store.writer import Store
from daemon.page.web.live import Hub
from daemon.protocol.decoding import Head, Received
from daemon.protocol.messages import (
    Envelope,
    Judgement,
    Message,
    Model,
    Ranked,
    Source,
    Window,
    file_source,
    live_prediction,
    prediction,
    seal,
    timestamp,
)

ENVELOPE = Envelope("b5a1e7c2-0000-4000-8000-000000000001", "run", "node", timestamp(time.time()))
BERLIN = ZoneInfo("Europe/Berlin")


def heard(seq: int, message: Message) -> Received:
    """A message as a client gives it out."""
    body = seal(message, ENVELOPE, seq, seq - 1, time.monotonic())
    head = Head(message.type, ENVELOPE.journal, seq, seq - 1, message.id)
    return Received(message.topic, head, msgspec.json.decode(body), body)


def window_at(
    seq: int,
    at: datetime,
    label: str = "dog",
    score: float = 0.9,
    accepted: bool = True,
    file: int | None = None,
) -> Received:
    """A prediction for a window that was recorded at a time."""
    judgement = Judgement(
        label=label,
        score=score,
        threshold=0.75,
        decision="accepted" if accepted else "rejected",
        reason=None if accepted else "below_threshold",
        top=tuple(Ranked(f"kind_{number}", 0.1) for number in range(5)),
        rms_dbfs=-20.5,
        model=Model("esc50", "4", "0" * 64),
    )
    window = Window(seq, 0.0, 5.0, 0.0, timestamp(at.timestamp()), "name")
    source = file_source("yard", b"/sounds/yard/one.wav")
    return heard(seq, prediction(source, f"{file or seq:032x}", window, judgement))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.close()


@pytest.fixture
def reader(store: Store) -> Iterator[Reader]:
    db = store.connect()
    yield Reader(db)
    db.close()


def test_a_message_is_stored_once(store: Store, reader: Reader) -> None:
    number, journal, seq, _ = store.daemon("ipc://a")
    assert (journal, seq) == (None, 0)
    batch = [window_at(n, datetime(2026, 5, 1, 12, tzinfo=UTC)) for n in range(1, 11)]
    assert len(store.add(number, batch)) == 10
    assert store.add(number, batch) == []
    assert store.daemon("ipc://a") == (number, ENVELOPE.journal, 10, batch[-1].head.id)
    assert len(reader.predictions(Filter())) == 10
    assert reader.heatmap(date(2026, 5, 1), ZoneInfo("UTC"), None, None)["dog"][12] == 10


def test_new_rows_go_to_browsers_but_not_those_of_a_flood(store: Store, tmp_path: Path) -> None:
    number, *_ = store.daemon("ipc://a")
    batch = [window_at(n, datetime(2026, 5, 1, 12, tzinfo=UTC)) for n in range(1, 2 * AT_ONCE + 1)]
    ids = [each.id for each in store.add(number, batch)]
    pictures = Pictures(tmp_path, 100)
    png = draw(np.zeros(16_000, np.float32), 16_000)
    pictures.add([(ids[0], png)])

    async def listen() -> list[str]:
        hub = Hub()
        hub.start()
        shower = Shower(number, store, pictures, hub)
        shower.show(ids[:1])  # before anybody listens
        stream = hub.listen()
        texts = [await anext(stream)]
        shower.show(ids[:1])
        shower.show(ids[1:])  # too many
        shower.show(ids[1:3])
        await asyncio.sleep(0)
        texts.append(await anext(stream))
        return texts

    hello, text = asyncio.run(listen())
    pictures.close()
    events = [each.split("\ndata: ") for each in text.strip().split("\n\n")]
    assert hello.startswith("event: hello")
    assert [kind for kind, _ in events] == ["event: rows"] * 2
    (first,), rest = (json.loads(data) for _, data in events)
    assert (first["row"]["id"], b64decode(first["picture"])) == (ids[0], png)
    assert {each["row"]["id"] for each in rest} == set(ids[1:3])
    assert [each["picture"] for each in rest] == [None, None]


def test_a_row_holds_what_the_message_said(store: Store, reader: Reader) -> None:
    number, *_ = store.daemon("ipc://a")
    at = datetime(2026, 5, 1, 12, 30, 1, 250_000, tzinfo=UTC)
    store.add(number, [window_at(1, at, "cat", 0.612345, accepted=False)])
    (row,) = reader.predictions(Filter())
    assert (row.label, row.score, row.decision, row.reason) == (
        "cat",
        0.612345,
        "rejected",
        "below_threshold",
    )
    assert (row.at, row.level_dbfs, row.clock) == (round(1000 * at.timestamp()), -20.5, "name")
    assert (row.path, row.source, row.kind) == ("/sounds/yard/one.wav", "yard", "file")
    assert [(each.label, each.score) for each in row.top] == [(f"kind_{n}", 0.1) for n in range(5)]


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)]
)
def test_days_have_as_many_hours_as_the_zone_says(day: date, hours: int) -> None:
    edges = hours_of(day, BERLIN)
    assert len(edges) - 1 == hours
    assert datetime.fromtimestamp(edges[0] / 1000, BERLIN).date() == day


def test_a_night_of_25_hours_counts_each_window_in_its_own_hour(
    store: Store, reader: Reader
) -> None:
    number, *_ = store.daemon("ipc://a")
    # 02:30 comes twice in Berlin on that day.
    twice = [datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)]
    store.add(number, [window_at(n, at) for n, at in enumerate(twice, 1)])
    counts = reader.heatmap(date(2026, 10, 25), BERLIN, None, None)["dog"]
    assert (counts[2], counts[3], sum(counts)) == (1, 1, 2)
    days = reader.days(date(2026, 10, 24), date(2026, 10, 26), BERLIN, "dog")
    assert days == [("2026-10-25", 2, 0)]


def test_zones_of_half_an_hour(store: Store, reader: Reader) -> None:
    number, *_ = store.daemon("ipc://a")
    store.add(number, [window_at(1, datetime(2026, 5, 1, 18, 40, tzinfo=UTC))])
    kolkata = ZoneInfo("Asia/Kolkata")  # 00:10 of the next day
    assert reader.heatmap(date(2026, 5, 2), kolkata, None, None)["dog"][0] == 1


def test_a_prediction_takes_little_room(tmp_path: Path) -> None:
    """In files of a minute."""
    store = Store(tmp_path)
    number, *_ = store.daemon("ipc://a")
    begin = datetime(2026, 5, 1, tzinfo=UTC).timestamp()
    sizes = []
    for first in (0, 4_000):
        batch = [
            window_at(n, datetime.fromtimestamp(begin + 5 * n, UTC), file=1 + n // 12)
            for n in range(first + 1, first + 4_001)
        ]
        store.add(number, batch)
        with store.write() as db:
            pages = db.execute("PRAGMA page_count").fetchone()[0]
        sizes.append(pages * 4096)
    store.close()
    assert (sizes[1] - sizes[0]) / 4_000 < 250, sizes


def test_old_predictions_go_and_counts_and_reviews_stay(tmp_path: Path) -> None:
    store = Store(tmp_path, Limits(keep_days=10))
    number, *_ = store.daemon("ipc://a")
    store.add(number, [window_at(1, datetime(2020, 5, 1, 12, tzinfo=UTC))])
    db = store.connect()
    reader = Reader(db)
    (row,) = reader.predictions(Filter())
    reviews.add(store, row, reviews.Review("other", "fox"))
    assert store.prune() == 0  # the recording is old, but it came today
    with store.write() as writing:
        writing.execute("UPDATE predictions SET published = published - ?", (11 * DAY_MS,))
    assert store.prune() == 1
    assert reader.predictions(Filter()) == []
    assert sum(reader.heatmap(date(2020, 5, 1), ZoneInfo("UTC"), None, None)["dog"]) == 1
    (kept,) = reader.table("SELECT number, label, file FROM reviews")
    assert kept["label"] == "fox"
    assert len(reader.table("SELECT path FROM files WHERE number = ?", [kept["file"]])) == 1
    number = int(str(kept["number"]))
    assert reviews.take_back_number(store, number)
    assert not reviews.take_back_number(store, number)
    assert reader.table("SELECT number FROM reviews") == []
    db.close()
    store.close()


def test_a_review_is_taken_back_of_one_daemon_alone(store: Store, reader: Reader) -> None:
    """Two have the same messages if one of them began with a copy of the other's journal."""
    for endpoint in ("ipc://a", "ipc://b"):
        number, *_ = store.daemon(endpoint)
        store.add(number, [window_at(1, datetime(2026, 5, 1, 12, tzinfo=UTC))])
    one, other = reader.predictions(Filter())
    assert one.id == other.id
    for row in (one, other):
        reviews.add(store, row, reviews.Review("wrong"))
    assert reviews.take_back(store, one)
    assert not reviews.take_back(store, one)
    verdicts = {row.number: row.verdict for row in reader.predictions(Filter())}
    assert verdicts == {one.number: None, other.number: "wrong"}


def test_what_a_threshold_would_have_given(store: Store, reader: Reader) -> None:
    number, *_ = store.daemon("ipc://a")
    now = time.time() - 3600
    # Two runs of three windows, a minute apart; the second is quieter.
    batch = [
        window_at(
            6 * run + n + 1, datetime.fromtimestamp(now + 60 * run + 5 * n, UTC), "dog", score
        )
        for run, score in enumerate((0.95, 0.55))
        for n in range(3)
    ]
    store.add(number, batch)
    found = reader.scores("dog", 0)
    assert found.threshold == 0.75
    events = [reader.scores("dog", 0, threshold=at).events for at in (0.0, 0.6, 0.98)]
    assert events == [2, 1, 0]
    assert found.predictions == [3 if n in (55, 95) else 0 for n in range(100)]
    assert reader.scores("dog", 0, "elsewhere").predictions == [0] * 100


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FILE)) as db, db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(StartError, match="install a newer one"):
        Store(tmp_path)


def test_a_store_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartError, match="cannot be opened"):
        Store(tmp_path)


def test_a_live_window_names_its_clip(store: Store, reader: Reader) -> None:
    number, *_ = store.daemon("ipc://a")
    kept = window_at(1, datetime(2026, 5, 1, tzinfo=UTC)).content
    window = msgspec.structs.replace(kept.window, clock="capture")  # type: ignore[attr-defined]
    message = live_prediction(
        Source("mic", "door"), "run", 0, window,
        Judgement(
            label="dog", score=0.9, threshold=0.75, decision="accepted", reason=None,
            top=(Ranked("dog", 0.9),), rms_dbfs=-20.0, model=Model("esc50", "4", "0" * 64),
        ),
        "/state/kept/door/one.flac",
    )  # fmt: skip
    store.add(number, [heard(1, message)])
    row: Row = reader.predictions(Filter())[0]
    assert (row.kind, row.path, row.clock) == ("mic", "/state/kept/door/one.flac", "capture")
