"""Bytes of the journal that the disk changed: SQLite has no checksums and does not notice."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from running import Daemon
from saying import predictions
from sounds import short_wav

from daemon.client import seq_before
from daemon.errors import JournalDamaged
from daemon.journal.files import journal_path
from daemon.journal.reader import JournalReader
from daemon.journal.records import OpenEvent, Record
from daemon.journal.writer import Journal
from daemon.pipeline.live_job import end_left_open


@pytest.fixture
def state(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir(mode=0o700)
    journal = Journal(made, "node", "run")
    journal.commit([Record(predictions(5, 0))])
    journal.close()
    return made


def spoil(state: Path, statement: str) -> None:
    with closing(sqlite3.connect(journal_path(state))) as db, db:
        assert db.execute(statement).rowcount > 0


MESSAGE = {
    "syntax": """body = CAST(replace(CAST(body AS TEXT), '"seq":', '"seq";') AS BLOB)""",
    "bytes": "body = x'7bff7d'",
    "type": "body = 'text'",
    "number": """body = CAST(replace(CAST(body AS TEXT), '"seq":3', '"seq":7') AS BLOB)""",
    "topic": "topic = CAST(x'ff74' AS TEXT)",
    "no topic": "topic = 7",
}


@pytest.mark.parametrize("what", MESSAGE)
def test_a_damaged_message_is_left_out_and_counted(state: Path, what: str) -> None:
    spoil(state, f"UPDATE messages SET {MESSAGE[what]} WHERE seq = 3")
    with closing(JournalReader(state)) as reader:
        page = reader.page(0, 1_000, 10**9)
        assert [message.seq for message in page.messages] == [1, 2, 4, 5]
        assert (page.next, page.damaged) == (5, 1)
        page = reader.page(2, 1, 10**9)
        assert ([message.seq for message in page.messages], page.damaged) == ([4], 1)
        assert reader.page(3, 1_000, 10**9).damaged == 0


START = {
    "a number that would be given twice": "UPDATE newest SET seq = 2",
    "a number that is none": "UPDATE newest SET seq = 'two'",
    "a type": "UPDATE newest SET type = CAST(x'ff' AS TEXT), seq = 2",
    "a size": "UPDATE meta SET value = '1o2' WHERE key = 'message_bytes'",
    "its UUID": "UPDATE meta SET value = X'ff00' WHERE key = 'journal'",
}


@pytest.mark.parametrize("what", START)
def test_a_journal_that_cannot_go_on_is_put_aside(state: Path, what: str) -> None:
    spoil(state, START[what])
    with closing(Journal(state, "node", "run")) as journal:
        assert journal.set_aside is not None
        assert journal_path(state) != journal.set_aside
        journal.commit([Record(predictions(1, 0))])


def test_counts_of_crashes_that_are_none_are_left_out(state: Path) -> None:
    with closing(sqlite3.connect(journal_path(state))) as db, db:
        db.execute("INSERT INTO crashes VALUES ('a', 'x', 1), ('b', 0, 2)")
    with closing(Journal(state, "node", "run")) as journal:
        assert journal.count_crashes({"a": 0}) == {"a": 1, "b": 2}


def test_an_open_event_that_cannot_be_read_is_closed_without_a_message() -> None:
    record = end_left_open([OpenEvent("some", b"\0")])
    assert (list(record.messages), record.events) == ([], [OpenEvent("some", None)])


LEDGER = ["size = 'big'", "inode = 'i'", "state = 'dome'", "file_id = x'00'"]


@pytest.mark.parametrize("change", LEDGER)
def test_a_damaged_row_of_the_ledger_ends_the_journal_and_no_other_row(
    daemon: Callable[..., Daemon], tmp_path: Path, change: str
) -> None:
    if change != LEDGER[0]:  # the others without a daemon
        state = tmp_path / "state"
        state.mkdir(mode=0o700)
        Journal(state, "node", "run").close()
        values = "'s', 1, 1, 1, 1, 1, 'f', 'done', 1, NULL, 1"
        with closing(sqlite3.connect(journal_path(state))) as db, db:
            db.execute(f"INSERT INTO files VALUES (x'61', {values}), (x'62', {values})")
        spoil(state, f"UPDATE files SET {change} WHERE path = x'61'")
        with closing(JournalReader(state)) as reader:
            assert reader.row(b"b") is not None
            with pytest.raises(JournalDamaged):
                reader.row(b"a")
        with closing(Journal(state, "node", "run")), closing(JournalReader(state)) as reader:
            assert (reader.row(b"a"), reader.row(b"b") is None) == (None, False)
        return
    running = daemon().start()
    for name in ("a.wav", "b.wav"):
        (running.folder / name).write_bytes(short_wav())
    running.ends(2)
    assert running.stop() == 0
    path = os.fsencode(running.folder / "a.wav").hex()
    spoil(running.state, f"UPDATE files SET {change} WHERE path = x'{path}'")
    running.start()  # the query for many files at once does not take the row for finished
    assert running.process.wait(60) == 1, "as the table of faults says"
    (running.folder / "c.wav").write_bytes(short_wav())  # now, so that the new journal has its end
    running.start()
    assert {Path(end["source"]["path"]).name for end in running.ends(2)} == {"a.wav", "c.wav"}


def test_subscribers_get_past_a_damaged_message(daemon: Callable[..., Daemon]) -> None:
    running = daemon().start()
    for number in range(3):
        (running.folder / f"{number}.wav").write_bytes(short_wav(number))
    running.ends(3)
    spoil(running.state, f"UPDATE messages SET {MESSAGE['syntax']} WHERE seq = 3")
    with running.client(0) as client:
        heard = [client.receive(60) for _ in range(6)]
        assert [each and each.message["seq"] for each in heard] == [1, 2, 4, 5, 6, 7]
        assert (client.lost, client.malformed) == (1, 0)
    spoil(running.state, f"UPDATE messages SET {MESSAGE['syntax']} WHERE seq = 7")
    assert seq_before(4e9, running.replay) == 6, "a search by time passes the last one"
