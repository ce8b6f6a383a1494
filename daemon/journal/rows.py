"""Ledger rows as SQLite stores them."""

from __future__ import annotations

import sqlite3

import msgspec

from daemon.journal.ledger import FINISHED, Identity, LedgerRow
from daemon.protocol.decoding import Head
from daemon.protocol.messages import PREFIX, TYPES

# Of `files`, in the order of `ledger_row`.
COLUMNS = "path, source, inode, size, mtime_ns, ctime_ns, version, file_id, state, windows, digest"

_STATES = (*FINISHED, "open", "forgotten")
_LEDGER_TYPES = [
    (bytes, str, int, int, int, int, int, str, str, int, digest) for digest in (bytes, type(None))
]

Values = tuple[bytes | str | int | None, ...]  # of one row


def lenient(text: bytes) -> str:
    """Read a text of the journal: one that the disk damaged shows by its content, not by an error.

    SQLite's error would be the same as those that pass.
    """
    return str(text, "utf-8", "replace")


def whole_number(value: object) -> int:
    """A number of the journal, or its text. Raises sqlite3.DatabaseError, as for a damaged file."""
    try:
        return int(str(value))
    except ValueError as error:
        raise sqlite3.DatabaseError(f"{value!r} is no number") from error


def newest_seqs(db: sqlite3.Connection) -> dict[str, int]:
    """The newest seq of each type of message; 0 without one.

    Raises sqlite3.DatabaseError, as for a damaged file, if a number would be given twice.
    """
    newest: dict[str, int] = dict.fromkeys(TYPES, 0)
    newest.update(db.execute("SELECT type, seq FROM newest"))
    stored = db.execute("SELECT ifnull(max(seq), 0) FROM messages").fetchone()[0]
    if not all(isinstance(seq, int) for seq in newest.values()) or max(newest.values()) < stored:
        raise sqlite3.DatabaseError("its newest numbers are damaged")
    return newest


def row_values(row: LedgerRow, at: int) -> Values:
    """All columns of `files`; `at` is the time of writing, s since 1970."""
    identity = row.identity
    return (
        row.path,
        row.source,
        # Unsigned 64-bit numbers of some file systems do not fit SQLite's signed ones.
        signed(identity.inode),
        identity.size,
        identity.mtime_ns,
        identity.ctime_ns,
        row.version,
        row.file_id,
        row.state,
        row.windows,
        row.digest,
        at,
    )


def ledger_row(
    found: tuple[bytes, str, int, int, int, int, int, str, str, int, bytes | None],
) -> LedgerRow:
    """Raises sqlite3.DatabaseError, as for a damaged file, if a value is none that is written."""
    if tuple(map(type, found)) not in _LEDGER_TYPES or found[8] not in _STATES:
        raise sqlite3.DatabaseError("a row of the ledger is damaged")
    path, source, inode, size, mtime_ns, ctime_ns, version, file_id, state, windows, digest = found
    found_identity = identity(inode, size, mtime_ns, ctime_ns)
    return LedgerRow(path, source, found_identity, version, file_id, state, windows, digest)


def identity(inode: int, size: int, mtime_ns: int, ctime_ns: int) -> Identity:
    return Identity(unsigned(inode), size, mtime_ns, ctime_ns)


def signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def unsigned(number: int) -> int:
    return number % 2**64


def is_whole(seq: int, topic: object, body: object) -> bool:
    """Whether a stored message can be the one that was published as `seq`.

    SQLite has no checksums: where the disk changed bytes of a message, it says nothing.
    """
    if not isinstance(topic, bytes) or not isinstance(body, bytes):
        return False
    try:
        str(body, "utf-8")
        return str(topic, "utf-8").startswith(PREFIX) and _head(body).seq == seq
    except (UnicodeDecodeError, msgspec.MsgspecError, RecursionError):
        return False


_head = msgspec.json.Decoder(Head).decode
