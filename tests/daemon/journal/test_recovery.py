"""A journal that is deleted, replaced or put back; work that was in hand at crashes."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from saying import predictions

from daemon.journal.crashes import WorkMarks
from daemon.journal.files import journal_path
from daemon.journal.reader import JournalReader
from daemon.journal.records import Record
from daemon.journal.recovery import PARTS, recovered
from daemon.journal.writer import Journal


@pytest.fixture
def state(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir(mode=0o700)
    return made


def say(journal: Journal, first: int, count: int = 5) -> None:
    journal.commit([Record(predictions(count, first))])


def kept(state: Path) -> list[int]:
    reader = JournalReader(state)
    try:
        return [message.seq for message in reader.page(0, 1_000, 10**9).messages]
    finally:
        reader.close()


@pytest.mark.parametrize("gone", [PARTS, PARTS[:1], PARTS[1:2], PARTS[2:]], ids=str)
def test_a_deleted_journal_is_written_again(state: Path, gone: tuple[str, ...]) -> None:
    journal = Journal(state, "node", "run")
    say(journal, 0)
    reader = JournalReader(state)
    assert not journal.put_in_place()
    for part in gone:
        Path(f"{journal_path(state)}{part}").unlink()
    say(journal, 5)  # into a file without a name
    assert journal.put_in_place()
    assert not journal.put_in_place()
    say(journal, 10)
    assert kept(state) == list(range(1, 16))
    assert [message.seq for message in reader.page(0, 1_000, 10**9).messages] == kept(state)
    reader.close()
    uuid = journal.uuid
    journal.close()
    again = Journal(state, "node", "run")
    assert (again.uuid, again.seq, again.put_back) == (uuid, 15, False)
    again.close()


def test_a_state_directory_that_was_moved_is_made_again(state: Path) -> None:
    journal = Journal(state, "node", "run")
    say(journal, 0)
    state.rename(state.with_name("elsewhere"))
    assert journal.put_in_place()
    say(journal, 5)
    assert kept(state) == list(range(1, 11))
    journal.close()


def test_another_file_in_its_place_is_put_aside(state: Path) -> None:
    journal = Journal(state, "node", "run")
    say(journal, 0)
    for part in PARTS:
        Path(f"{journal_path(state)}{part}").unlink()
    journal_path(state).write_text("something of somebody's")
    assert journal.put_in_place()
    (aside,) = state.glob("*.replaced-*")
    assert aside.read_text() == "something of somebody's"
    assert kept(state) == list(range(1, 6))
    journal.close()


def test_a_recovery_that_was_cut_off_goes_on_at_the_next_start(state: Path) -> None:
    journal = Journal(state, "node", "run")
    say(journal, 0)
    journal.close()
    os.rename(journal_path(state), recovered(journal_path(state)))
    journal = Journal(state, "node", "run")
    assert journal.seq == 5
    journal.close()


@pytest.mark.parametrize("whole", [False, True], ids=["the journal", "the whole state directory"])
def test_a_journal_that_was_put_back_gets_a_new_uuid(state: Path, whole: bool) -> None:
    journal = Journal(state, "node", "run")
    say(journal, 0)
    first = journal.uuid
    journal.close()
    snapshot = state.with_name("snapshot")
    shutil.copytree(state, snapshot)
    journal = Journal(state, "node", "run")
    assert not journal.put_back
    say(journal, 5)
    journal.close()
    if whole:
        shutil.rmtree(state)
        shutil.copytree(snapshot, state)
    else:
        shutil.copy(journal_path(snapshot), journal_path(state))
    journal = Journal(state, "node", "run")
    assert journal.put_back
    assert journal.uuid != first
    reader = JournalReader(state)
    bodies = b"".join(message.body for message in reader.page(0, 1_000, 10**9).messages)
    reader.close()
    assert bodies.count(journal.uuid.encode()) == 5
    assert first.encode() not in bodies
    say(journal, 50)
    journal.close()
    again = Journal(state, "node", "run")
    assert (again.uuid, again.put_back) == (journal.uuid, False)
    again.close()


def crash(state: Path, journal: Journal, *work: tuple[str, int]) -> dict[str, int]:
    """What a start counts after a process that ended with `work` in its hands."""
    marks = WorkMarks(state, slots=len(work) + 1)
    with ExitStack() as in_hand:
        for slot, each in enumerate(work):
            in_hand.enter_context(marks.working(slot, *each))
        found = WorkMarks(state, slots=1)  # as the next process finds it
        found.close()
    marks.close()
    return journal.count_crashes(found.left)


def test_work_is_counted_when_it_crashes_at_the_same_place(state: Path) -> None:
    journal = Journal(state, "node", "run")
    assert crash(state, journal) == {}
    assert crash(state, journal, ("a", 0), ("b", 0)) == {"a": 1, "b": 1}
    assert crash(state, journal) == {"a": 1, "b": 1}
    assert crash(state, journal, ("a", 0), ("b", 7)) == {"a": 2, "b": 1}
    journal.close()
    journal = Journal(state, "node", "run")
    assert crash(state, journal, ("a", 0)) == {"a": 3, "b": 1}
    journal.close()


def test_work_that_ended_is_not_counted(state: Path) -> None:
    marks = WorkMarks(state, slots=2)
    with marks.working(0, "a"), marks.working(1, "\udcff" * 100):
        pass
    marks.close()
    marks = WorkMarks(state, slots=1)
    assert marks.left == {}
    marks.close()


def test_messages_are_pruned_by_their_own_bytes(state: Path) -> None:
    journal = Journal(state, "node", "run")
    say(journal, 0, 200)
    size = journal.message_bytes
    with closing(sqlite3.connect(journal_path(state))) as db, db:
        query = "SELECT sum(length(topic) + length(body)) FROM messages"
        assert db.execute(query).fetchone() == (size,)
    keep = size * 0.9
    assert 20 <= (pruned := journal.prune(keep, 1e9, 1_000)) <= 21
    assert keep * 0.99 < journal.message_bytes <= keep
    assert journal.prune(keep, 1e9, 1_000) == 0
    assert journal.prune(0, 1e9, 30) == 30, "no more at once than asked for"
    assert kept(state) == list(range(pruned + 31, 201))
    journal.close()
    journal = Journal(state, "node", "run")
    assert journal.prune(1e9, -10.0, 1_000) == 170 - pruned, "all are older than that"
    assert journal.message_bytes == 0
    journal.close()
