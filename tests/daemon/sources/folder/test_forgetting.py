"""The ledger forgets files that are gone, by age and by number, and no other."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from running import Daemon, stress
from saying import predictions
from sounds import write_wav

from daemon.journal.files import journal_path
from daemon.journal.ledger import Identity, LedgerRow
from daemon.journal.reader import JournalReader
from daemon.journal.records import Record
from daemon.journal.writer import Journal
from daemon.protocol.messages import file_end, file_source
from daemon.settings.schema import JournalLimits
from daemon.sources.folder import forgetting
from daemon.sources.folder.forgetting import LedgerSweep

MakeDaemon = Callable[..., Daemon]
INSERT = (
    "INSERT INTO files SELECT CAST(printf('%s/%08d.wav', ?, value) AS BLOB), 'in', value, 1, 2, 3,"
    " 1, printf('%032x', value), 'done', 1, zeroblob(32), ? FROM"
    " (WITH RECURSIVE c(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM c LIMIT ?)"
    " SELECT value FROM c)"
)


@pytest.mark.parametrize(
    ("limits", "forgotten"),
    [
        (JournalLimits(), 0),
        (JournalLimits(ledger_days=1e-9), 9),
        (JournalLimits(ledger_rows=18), 9),
        (JournalLimits(ledger_rows=19), 0),
    ],
    ids=["young", "old", "too many", "just enough"],
)
def test_files_that_are_gone_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: JournalLimits, forgotten: int
) -> None:
    monkeypatch.setattr(forgetting, "EVERY_S", 0.0)
    monkeypatch.setattr(forgetting, "ROWS", 7)
    state, folder = tmp_path / "state", tmp_path / "in"
    state.mkdir(mode=0o700)
    folder.mkdir()
    journal = Journal(state, "node", "run")
    paths = [folder / f"{number}.wav" for number in range(20)]
    states = ["open", *["done"] * 19]
    for path, how in zip(paths, states, strict=True):
        row = LedgerRow(bytes(path), "in", Identity(1, 2, 3, 4), 1, "id", how, 1, None)
        journal.commit([Record(row=row)])
    for path in paths[::2]:  # the others are gone; the first is in work
        path.touch()
    paths[0].unlink()
    with closing(sqlite3.connect(journal_path(state))) as db, db:
        db.execute("UPDATE files SET at = at - 2")  # they are written with whole seconds
    reader = JournalReader(state)
    sweep = LedgerSweep(reader, bytes(folder), limits)
    for _ in range(9):
        journal.commit([Record(gone=[(row.path, row.at) for row in sweep.step()])])
    left = [path for path in paths if reader.row(bytes(path)) is not None]
    gone = [path for path in paths[1:] if not path.exists()]
    assert len(paths) - len(left) == (len(gone) if forgotten else 0)
    assert set(left) >= {path for path in paths if path.exists()} | {paths[0]}
    reader.close()
    journal.close()


def test_a_file_stays_known_as_long_as_its_end_state_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it came back after its row is gone, it would have the ids of messages in the journal."""
    monkeypatch.setattr(forgetting, "EVERY_S", 0.0)
    journal, path = Journal(tmp_path, "node", "run"), b"/nowhere/a.wav"
    row = LedgerRow(path, "in", Identity(1, 2, 3, 4), 1, "id", "done", 0, None)
    journal.commit([Record([file_end(file_source("in", path), "id", "done", 0)], row)])
    reader = JournalReader(tmp_path)
    sweep = LedgerSweep(reader, b"/nowhere", JournalLimits(ledger_rows=1, ledger_days=1e-9))
    assert sweep.step() == sweep.step() == []
    assert journal.prune(0, 1e9, 100) == 1
    assert [gone.path for gone in sweep.step()] == [path]
    reader.close()
    journal.close()


def test_a_row_that_was_written_since_stays(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "node", "run")
    row = LedgerRow(b"/in/a.wav", "in", Identity(1, 2, 3, 4), 1, "id", "done", 1, None)
    journal.commit([Record(row=row)])
    journal.commit([Record(gone=[(row.path, 5)])])
    reader = JournalReader(tmp_path)
    assert reader.row(row.path) == row
    reader.close()
    journal.close()


def used_until_ready(listening: Daemon) -> float:
    """Start it; the processor time, in seconds, that it took until it was ready.

    Unlike the time on the clock, it does not depend on what else the machine does.
    """
    os.sync()  # so that the daemon does not wait for the test's writes
    listening.start()
    used = Path(f"/proc/{listening.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(used[11]) + int(used[12])) / os.sysconf("SC_CLK_TCK")  # user and system


@pytest.mark.timeout(3600)
def test_a_huge_ledger_costs_start_and_replay_nothing(daemon: MakeDaemon, tmp_path: Path) -> None:
    count = stress(10_000_000)
    (tmp_path / "empty").mkdir()
    empty = daemon(base=tmp_path / "empty")
    ready_when_empty = used_until_ready(empty)
    assert empty.stop() == 0
    listening = daemon(env={"TINYAST_JOURNAL__KEEP_MB": "2", "TINYAST_JOURNAL__LEDGER_ROWS": "100"})
    listening.state.mkdir(mode=0o700)
    journal = Journal(listening.state, "node", "run")
    for first in range(0, 4_000, 500):
        journal.commit([Record(predictions(500, first))])
    assert journal.message_bytes > 2e6
    journal.close()
    with closing(sqlite3.connect(journal_path(listening.state))) as db, db:
        db.execute(INSERT, (str(listening.folder), int(time.time()), count))
    # The least of a few: its work after it is ready counts until the test looks.
    ready = used_until_ready(listening)
    for _ in range(3):
        if ready >= 1.5 * ready_when_empty:
            assert listening.stop() == 0
            ready = min(ready, used_until_ready(listening))
    assert ready < 1.5 * ready_when_empty
    write_wav(listening.folder / "a.wav")
    assert listening.ends(1, since=4_000)[0]["state"] == "done"

    uri = f"file:{journal_path(listening.state)}?mode=ro"

    def pruned() -> bool:
        with closing(sqlite3.connect(uri, uri=True)) as db:
            (size,) = db.execute("SELECT value FROM meta WHERE key = 'message_bytes'").fetchone()
            return int(size) <= 2e6

    number = 0
    while not pruned():  # at commits
        number += 1
        write_wav(listening.folder / f"{number}.wav", seconds=0.2, seed=number)
        listening.ends(1 + number, since=4_000)
    with closing(sqlite3.connect(uri, uri=True)) as db:
        query = "SELECT sum(length(topic) + length(body)) FROM messages"
        (kept,) = db.execute(query).fetchone()
    assert kept >= 0.95 * 2e6
    assert listening.memory() < 120e6
    print(
        f"{count} rows: ready after {ready:.2f} s of processor time, {ready_when_empty:.2f} s with "
        f"none; {listening.memory() / 1e6:.0f} MB; {kept / 2e4:.2f} % of keep_mb kept"
    )
