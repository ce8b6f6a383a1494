"""Each call of the journal fails once, in turn: it keeps all, and is never taken for damaged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from failing_calls import FailingCalls
from running import PYTHON_PATH

CODE = """
import errno, sqlite3, sys
from pathlib import Path
from failing_calls import ERRORS, FailingCalls, Plan
from saying import predictions
from daemon.errors import JournalError
from daemon.journal.ledger import Identity, LedgerRow
from daemon.journal.reader import READ_ERRORS, JournalReader
from daemon.journal.records import Record
from daemon.journal.writer import Journal

calls, state = FailingCalls(Path(sys.argv[1])), Path(sys.argv[2])
uuids, said, number = set(), {}, 0


def again(work, error):
    "The result of `work`, once it does not fail any more."
    while True:
        try:
            return work()
        except error:
            pass


for call, error in [(call, error) for call in sys.argv[3:] for error in ERRORS[call]]:
    nth, came = 0, True
    while came:
        nth += 1
        number += 1
        calls.plan(Plan(call, nth, error))
        journal = again(lambda: Journal(state, "node", "run"), JournalError)
        reader = again(lambda: JournalReader(state), READ_ERRORS)
        assert journal.set_aside is None and not journal.put_back
        row = LedgerRow(b"/%d" % number, "in", Identity(1, 2, 3, 4), 1, "id", "done", 1, b"digest")
        record = Record(predictions(20, 20 * number), row)
        for one in again(lambda: journal.commit([record]), sqlite3.OperationalError):
            said[one.seq] = one.body
        again(journal.put_in_place, (OSError, sqlite3.Error))
        again(lambda: journal.prune(20_000, 1e9, 1_000), sqlite3.OperationalError)
        assert again(lambda: reader.row(row.path), READ_ERRORS) == row
        page = again(lambda: reader.page(0, 1_000, 1 << 20), READ_ERRORS)
        assert page.newest == len(said) == 20 * number
        assert all(said[message.seq] == message.body for message in page.messages)
        came = calls.fired is not None
        uuids.add(journal.uuid)
        reader.close()
        journal.close()
    print(f"{call}: {errno.errorcode[error]} at each of {nth - 1} calls")
assert len(uuids) == 1
"""


def test_a_call_that_fails_once_costs_the_journal_nothing(tmp_path: Path) -> None:
    calls = FailingCalls(tmp_path / "calls")
    (tmp_path / "state").mkdir(mode=0o700)
    names = ["open", "read", "stat", "write", "sync"]
    ended = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "calls"), str(tmp_path / "state"), *names],
        env={**os.environ, **calls.env, "PYTHONPATH": PYTHON_PATH},
        capture_output=True,
        text=True,
    )
    print(ended.stdout)
    assert ended.returncode == 0, ended.stderr[-4_000:]
