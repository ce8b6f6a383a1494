"""Ledger rows as SQLite stores them."""

from __future__ import annotations

from daemon.journal.ledger import Identity, LedgerRow

# Of `files`, in the order of `ledger_row`.
COLUMNS = "path, source, inode, size, mtime_ns, ctime_ns, version, file_id, state, windows, digest"

Values = tuple[bytes | str | int | None, ...]  # of one row


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
    path, source, inode, size, mtime_ns, ctime_ns, version, file_id, state, windows, digest = found
    found_identity = identity(inode, size, mtime_ns, ctime_ns)
    return LedgerRow(path, source, found_identity, version, file_id, state, windows, digest)


def identity(inode: int, size: int, mtime_ns: int, ctime_ns: int) -> Identity:
    return Identity(unsigned(inode), size, mtime_ns, ctime_ns)


def signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def unsigned(number: int) -> int:
    return number % 2**64
