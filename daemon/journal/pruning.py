"""Keep the journal within its limits: of messages by bytes and age, of the ledger by lost files."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from daemon.journal.rows import whole_number

BYTES_KEY = "message_bytes"  # in `meta`: bytes of topics and bodies


def message_bytes(db: sqlite3.Connection) -> int:
    """Bytes of all messages; the ledger of files does not count among them."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (BYTES_KEY,)).fetchone()
    return whole_number(row and row[0])


def write_message_bytes(db: sqlite3.Connection, size: int) -> None:
    """Part of the caller's transaction."""
    db.execute("UPDATE meta SET value = ? WHERE key = ?", (str(size), BYTES_KEY))


def oldest_to_delete(
    db: sqlite3.Connection, over: float, cutoff: float, most: int
) -> tuple[int, int, int]:
    """The seq up to which messages go, their number and their bytes.

    They go if they are older than `cutoff`, in s since 1970, or while more than `over` bytes have
    to go, and no more than `most` of them.
    """
    last = count = size = 0
    query = "SELECT seq, at, length(topic) + length(body) FROM messages ORDER BY seq LIMIT ?"
    for seq, at, length in db.execute(query, (most,)):
        if size >= over and at >= cutoff:
            break
        last, count, size = seq, count + 1, size + length
    return last, count, size


def forget_gone(db: sqlite3.Connection, rows: Sequence[tuple[bytes, int | None]]) -> None:
    """Delete ledger rows, by path and time of writing, of files that are gone.

    A row that was written since then stays. Part of the caller's transaction.
    """
    db.executemany("DELETE FROM files WHERE path = ? AND at IS ? AND state != 'open'", rows)
