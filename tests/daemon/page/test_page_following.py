"""Following daemons: killed, away, beside another daemon, and with another journal than before."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pages import PageProcess
from running import SOON_S, Daemon, free_port, of_type, stress, tinyastd
from sounds import write_wav

from daemon.page.store.filter import Filter
from daemon.page.store.reader import Reader, Row
from daemon.page.store.schema import FILE
from daemon.protocol.keys import make_client, make_server

MakePage = Callable[..., PageProcess]


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Daemon]:
    listening = Daemon(tmp_path).start()
    yield listening
    listening.clean_up()


@pytest.fixture
def make_page(tmp_path: Path) -> Iterator[MakePage]:
    made: list[PageProcess] = []

    def make(*daemons: Daemon, options: tuple[str, ...] = ()) -> PageProcess:
        made.append(PageProcess(tmp_path, *daemons, options=options))
        return made[-1]

    yield make
    for page in made:
        page.clean_up()


def rows_of(page: PageProcess) -> list[Row]:
    """Every row of its store, the oldest first, read from its file."""
    uri = f"file:{page.store / FILE}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as db:
        db.row_factory = sqlite3.Row
        return list(Reader(db).export(Filter()))


def by_message(message: dict[str, Any]) -> tuple[object, ...]:
    """What a prediction says, as a store keeps it."""
    window = message["window"]
    return (
        message["id"],
        message["source"]["path"],
        message["source"]["name"],
        round(1000 * datetime.fromisoformat(window["started_at"]).timestamp()),
        round(1000 * datetime.fromisoformat(message["published_at"]).timestamp()),
        round(1000 * window["start_s"]),
        window["clock"],
        message["label"],
        round(1e6 * message["score"]),
        round(1e6 * message["threshold"]),
        message["decision"],
        message["reason"],
        round(100 * message["rms_dbfs"]),
        round(message["latency_ms"]),
        [(each["label"], round(1e6 * each["score"])) for each in message["top"]],
    )


def by_row(row: Row) -> tuple[object, ...]:
    return (
        row.id,
        row.path,
        row.source,
        row.at,
        row.published,
        round(1000 * row.start_s),
        row.clock,
        row.label,
        round(1e6 * row.score),
        round(1e6 * row.threshold),
        row.decision,
        row.reason,
        round(100 * row.level_dbfs),
        row.latency_ms,
        [(each.label, round(1e6 * each.score)) for each in row.top],
    )


def test_killed_again_and_again_it_agrees_with_the_journal(
    one: Daemon, make_page: MakePage
) -> None:
    """And started after it was away, it catches up."""
    page = make_page(one)
    count = stress(2_000, 60)
    for number in range(count):
        write_wav(one.folder / f"{number}.wav", seconds=0.2)
        if number % (count // stress(20, 3)) == 0:
            page.start()
            page.kill()
    heard = one.hear(lambda r: len(of_type(r, "file")) == count, timeout=600)
    page.start()
    page.catch_up(one, timeout=300)
    assert page.stop() == 0
    messages = of_type(heard, "prediction")
    assert sorted(map(by_row, rows_of(page))) == sorted(map(by_message, messages))
    with closing(sqlite3.connect(page.store / FILE)) as db:
        ended = db.execute("SELECT path, state, windows FROM files ORDER BY path").fetchall()
        ids = db.execute("SELECT lower(hex(id)) FROM statuses ORDER BY 1").fetchall()
        sums = db.execute("SELECT sum(accepted + rejected) FROM counts").fetchone()
    assert ended == sorted(
        (m["source"]["path"], m["state"], m["windows"]) for m in of_type(heard, "file")
    )
    assert [each for (each,) in ids] == sorted(m["id"] for m in of_type(heard, "status"))
    assert sums == (count,)


def test_another_journal_is_noticed_and_no_row_is_doubled(
    one: Daemon, make_page: MakePage, tmp_path: Path
) -> None:
    """A copy that is put back while the page looks, then a new journal while it is away."""

    def drop(*names: str) -> None:
        for name in names:
            write_wav(one.folder / name, seconds=0.2)

    def seen(name: str) -> list[str]:
        """All paths, once this one's row has come; those before it have come by then."""
        path = str(one.folder / name)
        page.wait_for(lambda: path in [row.path for row in rows_of(page)], f"a row of {name}")
        one.wait_for(lambda: one.status()["backlog"]["files"] == 0, "idle")
        page.catch_up(one)
        return sorted(Path(row.path or "").name for row in rows_of(page))

    page = make_page(one).start()
    drop("a.wav", "b.wav")
    one.ends(2)
    copy, state = tmp_path / "copy.sqlite3", ("--state", one.state)
    assert tinyastd("backup", *state, copy).returncode == 0
    drop("c.wav")
    assert seen("c.wav") == ["a.wav", "b.wav", "c.wav"]
    first, _ = page.cursor(one)
    one.stop()
    assert tinyastd("restore", *state, copy).returncode == 0
    one.start()
    drop("d.wav")
    assert seen("d.wav") == ["a.wav", "b.wav", "c.wav", "d.wav"]
    second, _ = page.cursor(one)
    page.stop()
    one.stop()
    shutil.rmtree(one.state)
    one.start()
    drop("e.wav")
    page.start()
    assert seen("e.wav") == ["a.wav", "b.wav", "c.wav", "d.wav", "e.wav"]
    assert len({first, second, page.cursor(one)[0]}) == 3
    assert len(page.get("files")) == 5


def test_two_daemons_one_with_keys(one: Daemon, make_page: MakePage, tmp_path: Path) -> None:
    """Each is shown separately; one that is killed, and one that stops, are marked as stopped."""
    keys = tmp_path / "keys"
    make_server(keys)
    make_client(keys, "page")
    (tmp_path / "other").mkdir()
    other = Daemon(tmp_path / "other", "--keys", str(keys))
    other.publish, other.replay = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    other.start()
    try:
        options = ("--server-key=none", f"--server-key={keys / 'server.key'}")
        page = make_page(
            one, other, options=(*options, f"--own-key={keys / 'page.key_secret'}")
        ).start()
        page.wait_for(lambda: states(page) == ["running", "running"], "both running")
        for listening in (one, other):
            write_wav(listening.folder / f"{listening.base.name}.wav", seconds=0.2)
        page.predictions(2)
        numbers = [each["number"] for each in page.get("daemons")]
        for number, listening in zip(numbers, (one, other), strict=True):
            (row,) = page.get("predictions", daemon=number)
            assert row["path"] == str(listening.folder / f"{listening.base.name}.wav")
        sources = page.get("now")["sources"]
        assert [(each["daemon"], len(each["predictions"])) for each in sources] == [
            (number, 1) for number in numbers
        ]
        other.kill()
        assert told_of_a_stop(page) == numbers[1]
        assert states(page) == ["running", "stopped"]
        one.stop()
        page.wait_for(lambda: states(page) == ["stopped", "stopped"], "marked")
        other.start()
        page.wait_for(lambda: states(page) == ["stopped", "running"], "running again")
    finally:
        other.clean_up()


def states(page: PageProcess) -> list[str]:
    return [each["state"] for each in page.get("daemons")]


def told_of_a_stop(page: PageProcess) -> int:
    """The number of the daemon that the live stream says has stopped."""
    with page.http.stream("GET", "/api/v1/live", timeout=SOON_S) as stream:
        for line in stream.iter_lines():
            told = json.loads(line[6:]) if line.startswith("data: ") else {}
            if told.get("state") == "stopped":
                return int(told["number"])
    raise AssertionError("the stream ended")
