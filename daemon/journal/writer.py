"""Write the journal: messages and the ledger of files. With `backup`, the home of sqlite3.

`Journal` is the only writing connection, owned by the delivery thread. Other threads use a
`JournalReader` each.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

from daemon.errors import JournalError
from daemon.host.clock import SteadyClock
from daemon.journal.crashes import counted
from daemon.journal.files import (
    damage_mark,
    is_damage,
    is_read_only,
    journal_path,
    put_aside,
    sure_of_damage,
)
from daemon.journal.ledger import LedgerRow
from daemon.journal.migrations import MIGRATIONS, VERSION
from daemon.journal.pruning import (
    forget_gone,
    message_bytes,
    oldest_to_delete,
    write_message_bytes,
)
from daemon.journal.records import OpenEvent, Published, Record
from daemon.journal.recovery import PARTS, copy_open, give_new_uuid, place, recovered
from daemon.journal.rows import COLUMNS, Values, ledger_row, lenient, newest_seqs, row_values
from daemon.journal.watermark import Watermark
from daemon.protocol.messages import Envelope, now, seal

log = logging.getLogger(__name__)

AT_ONCE = 32  # rows that one statement inserts


class Journal:
    """The writing connection. Opening it makes or migrates the state.

    Raises JournalError if the state is newer than this daemon, or not a journal.
    """

    def __init__(self, state: Path, node: str, run_id: str) -> None:
        self.path = journal_path(state)
        self._node, self._run_id = node, run_id
        self._clock = SteadyClock()
        self._watermark = Watermark(state)
        self.set_aside: Path | None = None  # new path of a journal that could not be read
        self.put_back = False  # whether it was found in an earlier state than it once had
        self._connection: sqlite3.Connection | None = None
        self._copy: Path | None = None  # a recovered journal that is to be put in place
        try:
            self._start()
        except (OSError, sqlite3.OperationalError) as error:
            raise JournalError(
                f"the journal {self.path} cannot be opened: {error}. Check the disk and that this "
                "user may write there"
            ) from error

    def _start(self) -> None:
        self._take_recovered()
        try:
            try:
                self._open()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self._open()  # a read that fails for a moment can look like damage
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            log.error("the journal %s is damaged (%s)", self.path, error)
            self._begin_anew()
        else:
            self._notice_put_back()

    def _open(self) -> None:
        if damage_mark(self.path).exists():
            raise sqlite3.DatabaseError("found damaged while it was written")
        # SQLite would make it readable for all, and gives its other files the same mode.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._connect()
        self._migrate()
        # SQLite opens a file without write permission read-only, and never tries again.
        if not os.access(self.path, os.W_OK):
            raise sqlite3.OperationalError("it may only be read")
        self.uuid = self._identify()
        self.newest = newest_seqs(self._db)
        self.message_bytes = message_bytes(self._db)
        self._place = place(self.path)

    def _connect(self) -> None:
        self._disconnect()
        self._connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self._connection.text_factory = lenient
        self._db.execute("PRAGMA journal_mode = WAL")
        # FULL: a committed message survives a power cut (SQLite manual, PRAGMA synchronous).
        self._db.execute("PRAGMA synchronous = FULL")

    @property
    def _db(self) -> sqlite3.Connection:
        """Raises sqlite3.OperationalError after `_open` failed."""
        if self._connection is None:
            raise sqlite3.OperationalError("the journal is not open")
        return self._connection

    def _disconnect(self) -> None:
        before, self._connection = self._connection, None
        if before is not None:
            before.close()

    def _reopen(self) -> None:
        """Open it again. Raises sqlite3.Error, and leaves it closed then."""
        try:
            if self._copy is not None:
                self._replace_by(self._copy)
                self._copy = None
            self._open()
        except BaseException as error:
            self._disconnect()
            if isinstance(error, OSError):
                raise sqlite3.OperationalError(str(error)) from error
            raise

    def _take_recovered(self) -> None:
        """Finish what `put_in_place` began, if the process ended before."""
        if not self.path.exists() and recovered(self.path).exists():
            os.rename(recovered(self.path), self.path)

    def _notice_put_back(self) -> None:
        """Give the journal a new UUID if it once held newer messages: numbers would be reused."""
        highest = self._watermark.highest(self.uuid)
        if highest > self.seq:
            log.error(
                "the journal was put back: it ends at seq %d and once reached %d; it becomes a "
                "new journal, and subscribers read it from its start",
                self.seq,
                highest,
            )
            give_new_uuid(self._db)
            self.uuid, self.put_back = self._identify(), True
        self._watermark.write(self.uuid, self.seq)

    def put_in_place(self) -> bool:
        """If the journal's files were deleted or replaced, write them again; whether they were.

        Raises OSError or sqlite3.Error if that is impossible now; nothing is lost then, and a later
        call tries again.
        """
        if self._connection is None:  # the next commit opens it
            return False
        found = place(self.path)
        if found == self._place:
            return False
        self._copy = copy_open(self._db, self.path)
        self._disconnect()
        self._reopen()
        return True

    def _replace_by(self, copy: Path) -> None:
        """Put a recovered journal in place of whatever has its name. Raises OSError."""
        if place(self.path)[0] not in (None, self._place[0]):
            put_aside(self.path, "replaced")
        for part in PARTS[1:]:
            Path(f"{self.path}{part}").unlink(missing_ok=True)
        os.rename(copy, self.path)
        self._watermark.close()
        self._watermark = Watermark(self.path.parent)

    def count_crashes(self, left: Mapping[str, int]) -> dict[str, int]:
        """Crashes in a row by name of work, once those of the work that was `left` are counted.

        `left` gives for each the steps that it had done.
        """
        rows = self._db.execute("SELECT work, step, count FROM crashes")
        before = {
            work: (step, count)
            for work, step, count in rows
            if isinstance(step, int) and isinstance(count, int)  # or the disk damaged it
        }
        counts = counted(left, before)
        try:
            self._db.executemany(
                "INSERT OR REPLACE INTO crashes VALUES (?, ?, ?)",
                [(work, *counts[work]) for work in left],
            )
        except sqlite3.OperationalError as error:  # the disk is full
            log.warning("crashes cannot be counted now: %s", error)
        return {work: count for work, (_, count) in counts.items()}

    def _begin_anew(self) -> None:
        """Move a damaged journal aside, never delete it, and begin another with a new UUID.

        The readable part of the ledger of files is kept, so that those files are not classified
        again.
        """
        self.set_aside = put_aside(self.path)
        self._open()
        kept = 0
        for row in salvage(self.set_aside):
            self._write_rows([row_values(row, int(self._clock.now()))])
            kept += 1
        log.warning("it was moved aside as %s; %d files of its ledger kept", self.set_aside, kept)

    def _migrate(self) -> None:
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found > VERSION:
            raise JournalError(
                f"the state in {self.path.parent} is of version {found}, and this daemon knows "
                f"only up to {VERSION}; run a newer tinyastd, or name another --state"
            )
        for version in range(found, VERSION):
            script = MIGRATIONS[version]
            self._db.executescript(f"BEGIN; {script} PRAGMA user_version = {version + 1}; COMMIT;")

    def _identify(self) -> str:
        row = self._db.execute("SELECT value FROM meta WHERE key = 'journal'").fetchone()
        if row is None:
            row = (str(uuid.uuid4()),)
            self._db.execute("INSERT INTO meta VALUES ('journal', ?)", row)
        name = row[0]
        if not isinstance(name, str) or not (name.isascii() and name.isprintable() and name):
            raise sqlite3.DatabaseError("its UUID is damaged")
        return name

    @property
    def seq(self) -> int:
        """The newest seq given to any message."""
        return max(self.newest.values())

    def commit(self, records: Iterable[Record]) -> list[Published]:
        """Commit all of `records` in one transaction; return their messages, numbered.

        Raises sqlite3.OperationalError if the disk refuses it; then the journal is unchanged, no
        number is used up, and the call can be repeated.
        """
        kept = list(records)
        if self._connection is None:
            self._reopen()
        try:
            return sure_of_damage(self.path, lambda: self._commit(kept), self._reopen)
        except sqlite3.OperationalError as error:
            self._open_later_if_read_only(error)
            raise

    def _open_later_if_read_only(self, error: sqlite3.Error) -> None:
        """Have the next commit open the file again, if that is still the same file.

        If SQLite once cannot open it for writing, it opens it for reading, and leaves it at that.
        """
        if is_read_only(error):
            with suppress(OSError):
                if place(self.path)[0] == self._place[0]:
                    self._disconnect()

    def envelope(self) -> Envelope:
        """What all messages that are published now share."""
        return Envelope(self.uuid, self._run_id, self._node, now())

    def _commit(self, records: Sequence[Record]) -> list[Published]:
        newest, seq, at = dict(self.newest), self.seq, int(self._clock.now())
        size = self.message_bytes
        envelope = self.envelope()
        published: list[Published] = []
        messages: list[Values] = []
        rows: list[Values] = []
        self._db.execute("BEGIN IMMEDIATE")
        with self._rolled_back_on_error():
            for record in records:
                for message in record.messages:
                    seq += 1
                    body = seal(message, envelope, seq, newest[message.type], record.noticed)
                    newest[message.type] = seq
                    published.append(Published(seq, message.topic, body))
                    messages.append((seq, bytes.fromhex(message.id), at, message.topic, body))
                    size += len(message.topic) + len(body)
                if record.row is not None:
                    rows.append(row_values(record.row, at))
                for event in record.events:
                    self._write_event(event)
                if record.forget or record.gone:
                    self._write_rows(rows)  # in order: one of them may be of that path
                    rows = []
                    self._forget(record)
            self._insert("INSERT INTO messages", messages)
            self._write_rows(rows)
            self._db.executemany(
                "INSERT OR REPLACE INTO newest VALUES (?, ?)", newest.items() - self.newest.items()
            )
            if size != self.message_bytes:
                write_message_bytes(self._db, size)
            self._db.execute("COMMIT")
        self.newest, self.message_bytes = newest, size
        self._watermark.write(self.uuid, seq)
        return published

    def _forget(self, record: Record) -> None:
        self._db.executemany(
            "UPDATE files SET state = 'forgotten' WHERE path = ?",
            [(path,) for path in record.forget],
        )
        forget_gone(self._db, record.gone)

    def _write_rows(self, rows: Sequence[Values]) -> None:
        self._insert("INSERT OR REPLACE INTO files", rows)

    def _insert(self, into: str, rows: Sequence[Values]) -> None:
        """Insert `rows`, many per statement, because each statement releases Python's lock.

        Statements have few sizes, because SQLite caches each prepared statement.
        """
        start = 0
        while left := len(rows) - start:
            size = min(AT_ONCE, 1 << (left.bit_length() - 1))
            some = rows[start : start + size]
            one = f"({', '.join('?' * len(some[0]))})"
            self._db.execute(
                f"{into} VALUES {', '.join([one] * size)}", tuple(chain.from_iterable(some))
            )
            start += size

    def _write_event(self, event: OpenEvent) -> None:
        if event.body is None:
            self._db.execute("DELETE FROM open_events WHERE id = ?", (event.id,))
        else:
            self._db.execute(
                "INSERT OR REPLACE INTO open_events VALUES (?, ?)", (event.id, event.body)
            )

    def prune(self, keep_bytes: float, keep_s: float, most: int) -> int:
        """Delete the oldest messages beyond these limits, at most `most` of them; how many.

        Numbers and the ledger of files stay. SQLite reuses the room, so the file neither grows nor
        shrinks.
        """
        return sure_of_damage(
            self.path, lambda: self._prune(keep_bytes, keep_s, most), self._reopen
        )

    def _prune(self, keep_bytes: float, keep_s: float, most: int) -> int:
        over, cutoff = self.message_bytes - keep_bytes, self._clock.now() - keep_s
        last, count, size = oldest_to_delete(self._db, over, cutoff, most)
        if count:
            self._db.execute("BEGIN IMMEDIATE")
            with self._rolled_back_on_error():
                self._db.execute("DELETE FROM messages WHERE seq <= ?", (last,))
                write_message_bytes(self._db, self.message_bytes - size)
                self._db.execute("COMMIT")
            self.message_bytes -= size
        return count

    @contextmanager
    def _rolled_back_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def open_events(self) -> list[OpenEvent]:
        """Events that were open when the daemon last ran."""
        return [OpenEvent(*row) for row in self._db.execute("SELECT id, body FROM open_events")]

    def close(self) -> None:
        self._disconnect()
        self._watermark.close()


def salvage(damaged: Path) -> Iterator[LedgerRow]:
    """The readable rows of finished files in a damaged journal's ledger."""
    try:
        db = sqlite3.connect(damaged, isolation_level=None)
        db.text_factory = lenient
    except sqlite3.Error:
        return
    try:
        rows = db.execute(f"SELECT {COLUMNS} FROM files WHERE state != 'open'")
        for found in rows:
            with suppress(sqlite3.DatabaseError):  # only this row
                yield ledger_row(found)
    except sqlite3.Error as error:
        log.warning("the rest of its ledger of files cannot be read: %s", error)
    finally:
        db.close()
