"""Read the journal: replay pages and ledger rows. One connection per thread."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from daemon.errors import JournalError
from daemon.journal.files import journal_path, sure_of_damage
from daemon.journal.ledger import FINISHED, Identity, LedgerRow
from daemon.journal.migrations import VERSION
from daemon.journal.records import Published, StoredPage
from daemon.journal.recovery import identity
from daemon.journal.rows import COLUMNS, is_whole, ledger_row, lenient, unsigned, whole_number

log = logging.getLogger(__name__)

# The system refused to read the journal: out of descriptors or memory, a disk that fails.
READ_ERRORS = (sqlite3.OperationalError, OSError, MemoryError)
T = TypeVar("T")
AGAIN_S = 1.0  # between attempts to open the journal
MAX_REPLAY_SCAN = 20_000  # rows that one replay request may skip


class Written(NamedTuple):
    """When a row of the ledger was written."""

    path: bytes
    file_id: str
    at: int | None  # s since 1970, as it stands in the row
    since: int  # the same, or when the ledger began to note it


def open_reader(state: Path, halt: threading.Event) -> JournalReader | None:
    """A reader, as soon as the system lets the journal be opened; None if `halt` is set before."""
    while not halt.is_set():
        try:
            return JournalReader(state)
        except READ_ERRORS as error:
            log.warning("cannot read the journal now: %s", error or "out of memory")
            halt.wait(AGAIN_S)
    return None


class JournalReader:
    """A reading connection, for one thread."""

    def __init__(self, state: Path) -> None:
        self._path = journal_path(state)
        self._db = self._connected()

    def _connected(self) -> sqlite3.Connection:
        self._place = identity(self._path)
        uri = f"{self._path.absolute().as_uri()}?mode=ro"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA query_only = ON")
        db.text_factory = lenient
        return db

    def _connect(self) -> None:
        before, self._db = self._db, self._connected()
        before.close()

    def _read(self, query: Callable[[], T]) -> T:
        """The result of `query` on the file that now has the journal's name.

        A deleted journal is written again, so that file may be another than before.
        """
        if identity(self._path) not in (None, self._place):
            self._connect()
        return sure_of_damage(self._path, query, self._connect)

    def _all(self, query: str, values: tuple[bytes | str | int, ...]) -> list[tuple[Any, ...]]:
        return self._read(lambda: self._db.execute(query, values).fetchall())

    def row(self, path: bytes) -> LedgerRow | None:
        found = self._rows("path = ?", path)
        return found[0] if found else None

    def finished(self, found: Mapping[bytes, Identity]) -> set[bytes]:
        """Those paths in `found` whose exact file has an end state in the ledger.

        Equals `row` and `is_known` for each, at a fraction of the cost for many.
        """
        query = (
            "SELECT path, inode, size, mtime_ns, ctime_ns FROM files "
            f"WHERE path IN ({', '.join('?' * len(found))}) AND state IN {FINISHED!r}"
        )
        rows = self._all(query, tuple(found))
        return {
            path
            for path, inode, *rest in rows
            if type(inode) is int and found[path] == (unsigned(inode), *rest)
        }

    def written(self, after: bytes, before: bytes, limit: int) -> list[Written]:
        """Finished rows of paths between `after` and `before`, in their order."""
        query = (
            "SELECT path, file_id, at, "
            "ifnull(at, (SELECT value FROM meta WHERE key = 'ledger_from')) "
            "FROM files WHERE path > ? AND path < ? AND state != 'open' ORDER BY path LIMIT ?"
        )
        return self._read(
            lambda: [
                Written(path, file_id, at, whole_number(since))
                for path, file_id, at, since in self._db.execute(query, (after, before, limit))
            ]
        )

    def has_message(self, message_id: str) -> bool:
        """Whether a message of this `id` is kept."""
        query = "SELECT 1 FROM messages WHERE id = ?"
        return bool(self._all(query, (bytes.fromhex(message_id),)))

    def open_rows(self, source: str) -> list[LedgerRow]:
        """Files of a source with windows published and no end state yet."""
        return self._rows("state = 'open' AND source = ?", source)

    def _rows(self, where: str, value: bytes | str) -> list[LedgerRow]:
        query = f"SELECT {COLUMNS} FROM files WHERE {where}"
        return self._read(lambda: list(map(ledger_row, self._db.execute(query, (value,)))))

    def page(self, since: int, limit: int, max_bytes: int, topic: str = "") -> StoredPage:
        """Messages after `since` whose topic begins with `topic`, oldest first.

        At most `limit` of them or `max_bytes`, but at least one if one is left.
        """
        return self._read(lambda: self._page(since, limit, max_bytes, topic))

    def _page(self, since: int, limit: int, max_bytes: int, topic: str) -> StoredPage:
        self._db.execute("BEGIN")  # one snapshot for the whole answer
        try:
            newest = self._db.execute("SELECT max(seq) FROM newest").fetchone()[0] or 0
            oldest = self._db.execute("SELECT min(seq) FROM messages").fetchone()[0]
            messages, reached, damaged = self._collect(since, limit, max_bytes, topic.encode())
        finally:
            if self._db.in_transaction:
                self._db.execute("COMMIT")
        oldest = newest + 1 if oldest is None else oldest
        return StoredPage(messages, newest if reached is None else reached, oldest, newest, damaged)

    def _collect(
        self, since: int, limit: int, max_bytes: int, topic: bytes
    ) -> tuple[list[Published], int | None, int]:
        """The messages, the last seq scanned, and how many the disk damaged.

        The seq is None if the scan reached the end.
        """
        messages: list[Published] = []
        size, reached, damaged = 0, since, 0
        query = "SELECT seq, CAST(topic AS BLOB), body FROM messages WHERE seq > ? ORDER BY seq"
        for passed, (seq, name, body) in enumerate(self._db.execute(query, (since,)), 1):
            if not is_whole(seq, name, body):
                log.error("message %d is damaged in the journal: check the disk", seq)
                damaged += 1
            elif name.startswith(topic):
                size += len(name) + len(body)
                if messages and size > max_bytes:
                    return messages, reached, damaged
                messages.append(Published(seq, name.decode(), body))
            reached = seq
            if len(messages) >= limit or passed >= MAX_REPLAY_SCAN:
                return messages, reached, damaged
        return messages, None, damaged

    def close(self) -> None:
        self._db.close()


def check_journal(state: Path) -> None:
    """Raise JournalError if a daemon could not use the journal. Does not change it."""
    path = journal_path(state)
    uri = f"file:{path}?mode=ro".replace("%", "%25")
    try:
        with closing(sqlite3.connect(uri, uri=True)) as db:
            found = db.execute("PRAGMA user_version").fetchone()[0]
            if found == VERSION:
                db.execute("SELECT type, seq FROM newest").fetchall()
    except sqlite3.DatabaseError as error:
        raise JournalError(f"the journal {path} cannot be read: {error}") from error
    if found > VERSION:
        raise JournalError(
            f"the state in {state} is of version {found}; this daemon knows only up to {VERSION}"
        )
