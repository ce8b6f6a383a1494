"""What a helper keeps on disk: its database, or a few values in one.

Values are written together or not at all, whenever it is killed.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from daemon.errors import DaemonError, StartError

T = TypeVar("T")


class CannotKeep(DaemonError):
    """The disk does not take the values now; it may later."""


@contextmanager
def private_database(
    path: Path, synchronous: str, one_thread: bool = True
) -> Iterator[sqlite3.Connection]:
    """A database that only this user may read, made if it is not there; prepare it in the block.

    It stays open unless the block fails. `synchronous` is SQLite's setting of that name. Raises
    OSError, also for a link, and sqlite3.Error.
    """
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=one_thread)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {synchronous}")
        yield db
    except BaseException:
        db.close()
        raise


class Keeping:
    """Values by name in the file `path`, as JSON. A power cut may undo the latest writes.

    For one thread of one process. Raises StartError if the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # NORMAL: a power cut never damages it, but it may be a little old then.
            with private_database(path, "NORMAL") as self._db:
                self._db.execute(
                    "CREATE TABLE IF NOT EXISTS kept "
                    "(name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID"
                )
        except (OSError, sqlite3.DatabaseError) as error:
            raise StartError(
                f"{path} cannot be opened: {error}; check its folder and disk, or remove it to "
                "begin with new messages"
            ) from error

    def get(self, name: str, kind: type[T]) -> T | None:
        """The value of this name; None without one of this type."""
        row = self._db.execute("SELECT value FROM kept WHERE name = ?", (name,)).fetchone()
        if row is None:
            return None
        try:
            return msgspec.json.decode(row[0], type=kind)
        except msgspec.MsgspecError:
            return None

    def names(self, prefix: str) -> list[str]:
        """The names that begin so, in order."""
        found = self._db.execute("SELECT name FROM kept ORDER BY name")
        return [name for (name,) in found if name.startswith(prefix)]

    def put(self, values: Mapping[str, object], drop: Sequence[str] = ()) -> None:
        """Write these values, and remove those, in one transaction. Raises CannotKeep."""
        rows = [(name, msgspec.json.encode(value)) for name, value in values.items()]
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany("DELETE FROM kept WHERE name = ?", [(each,) for each in drop])
                self._db.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", rows)
        except sqlite3.OperationalError as error:
            raise CannotKeep(f"{self._path} cannot be written: {error}") from error

    def close(self) -> None:
        self._db.close()
