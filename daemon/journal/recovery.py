"""Recover a journal that was deleted, replaced or put back while the daemon depends on it."""

from __future__ import annotations

import os
import sqlite3
import uuid
from contextlib import closing, suppress
from pathlib import Path

from daemon.errors import GONE

PARTS = ("", "-wal", "-shm")  # of an open journal, after its name

Place = tuple[tuple[int, int] | None, ...]  # device and inode of each part


def place(path: Path) -> Place:
    """The files in the places of the journal and its parts. Raises OSError."""
    return tuple(identity(Path(f"{path}{part}")) for part in PARTS)


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file at `path`; None without one. Raises OSError."""
    try:
        found = path.stat()
    except OSError as error:
        if error.errno in GONE:
            return None
        raise
    return found.st_dev, found.st_ino


def copy_open(db: sqlite3.Connection, path: Path) -> Path:
    """Write all that an open journal holds to a new file beside `path`; the new file.

    An open connection keeps deleted files readable. Raises OSError or sqlite3.Error.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part, copy = Path(f"{path}.recovered.part"), recovered(path)
    with suppress(FileNotFoundError):
        part.unlink()
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(part, isolation_level=None)) as target:
        db.backup(target)
    with part.open("rb") as written:
        os.fsync(written.fileno())
    os.rename(part, copy)
    return copy


def recovered(path: Path) -> Path:
    """The place of a recovered journal before it replaces the damaged one."""
    return Path(f"{path}.recovered")


def give_new_uuid(db: sqlite3.Connection) -> None:
    """Give a journal another UUID, in each of its messages too: subscribers read it afresh."""
    (old,) = db.execute("SELECT value FROM meta WHERE key = 'journal'").fetchone()
    new = str(uuid.uuid4())
    before, after = (f'"journal":"{name}"' for name in (old, new))
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE meta SET value = ? WHERE key = 'journal'", (new,))
    db.execute(
        "UPDATE messages SET body = CAST(replace(CAST(body AS TEXT), ?, ?) AS BLOB)",
        (before, after),
    )
    db.execute("COMMIT")
