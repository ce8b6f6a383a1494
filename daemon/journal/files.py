"""Paths of the journal; move a damaged or replaced one aside, never delete it."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from daemon.errors import JournalDamaged

log = logging.getLogger(__name__)

T = TypeVar("T")

FILE = "journal.sqlite3"


def journal_path(state: Path) -> Path:
    return state / FILE


def damage_mark(path: Path) -> Path:
    """The file that marks a journal as found damaged during a write."""
    return path.with_name(path.name + ".damaged")


def put_aside(path: Path, why: str = "damaged") -> Path:
    """Rename a journal and its companion files to a name that says why and when; return it."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    target = path.with_name(f"{path.name}.{why}-{stamp}")
    number = 0
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.{why}-{stamp}-{number}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            os.rename(part, target.with_name(target.name + suffix))
    damage_mark(path).unlink(missing_ok=True)
    return target


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite means that the file's content is wrong, and not that it cannot have it."""
    other = (sqlite3.OperationalError, sqlite3.IntegrityError, sqlite3.ProgrammingError)
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, other)


def is_read_only(error: sqlite3.Error) -> bool:
    """Whether SQLite may only read the file, as after one failed attempt to open it."""
    code: int = getattr(error, "sqlite_errorcode", 0)  # our own errors have no code
    return code & 0xFF == sqlite3.SQLITE_READONLY


def sure_of_damage(path: Path, work: Callable[[], T], connect: Callable[[], None]) -> T:
    """The result of `work` on the journal at `path`.

    If a read fails for a moment, SQLite 3.40 may call the file malformed. So `work` is done once
    more after `connect` has made a new connection, and only then is the file held to be damaged:
    a mark is left beside it. Raises JournalDamaged, and sqlite3.Error for everything else.
    """
    try:
        return work()
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        log.warning("the journal %s may be damaged (%s); reading it again", path, error)
    with noting_damage(path):
        connect()
        return work()


@contextmanager
def noting_damage(path: Path) -> Iterator[None]:
    """Turn SQLite's error for a damaged file into JournalDamaged, and leave a mark beside it."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        damage_mark(path).touch()
        raise JournalDamaged(
            f"the journal {path} is damaged ({error}); the next start moves it aside"
        ) from error
