"""One commit of many records: all of it, in its order, however it is cut into statements."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from saying import predictions

from daemon.journal.ledger import Identity, LedgerRow
from daemon.journal.reader import JournalReader
from daemon.journal.records import Record
from daemon.journal.writer import AT_ONCE, Journal

IDENTITY = Identity(2**64 - 1, 5, -1, 7)


def row(number: int, version: int = 1, state: str = "done") -> LedgerRow:
    path = b"/in/%d.wav" % number
    return LedgerRow(path, "in", IDENTITY, version, "id", state, 1, b"digest")


@pytest.mark.parametrize("count", [1, 2, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 5 * AT_ONCE + 13])
def test_every_message_and_row_of_a_commit_is_kept(tmp_path: Path, count: int) -> None:
    journal = Journal(tmp_path, "node", "run")
    said = list(predictions(count))
    published = journal.commit(
        [Record([message], row(number)) for number, message in enumerate(said)]
    )
    assert [one.seq for one in published] == list(range(1, count + 1))
    assert len({json.loads(one.body)["published_at"] for one in published}) == 1
    reader = JournalReader(tmp_path)
    page = reader.page(0, 10_000, 10**9)
    assert page.messages == published
    assert page.newest == journal.seq == count
    assert [reader.row(row(number).path) for number in range(count)] == [
        row(number) for number in range(count)
    ]
    reader.close()
    journal.close()


def test_what_is_forgotten_between_two_rows_is_forgotten_between_them(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "node", "run")
    journal.commit(
        [
            Record(row=row(0)),
            Record(row=row(1)),
            Record(forget=[row(0).path]),
            Record(forget=[row(1).path]),
            Record(row=row(1, version=2)),
        ]
    )
    reader = JournalReader(tmp_path)
    assert reader.row(row(0).path) == row(0, state="forgotten")
    assert reader.row(row(1).path) == row(1, version=2)
    reader.close()
    journal.close()


def test_of_two_rows_of_a_path_in_one_commit_the_later_stays(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "node", "run")
    journal.commit([Record(row=row(0, state="open")), Record(row=row(0))])
    reader = JournalReader(tmp_path)
    assert reader.row(row(0).path) == row(0)
    reader.close()
    journal.close()
