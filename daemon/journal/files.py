"""Paths of the journal; move a damaged or replaced one aside, never delete it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.errors import JournalDamaged

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


@contextmanager
def noting_damage(path: Path) -> Iterator[None]:
    """Turn SQLite's error for a damaged file into JournalDamaged, and leave a mark beside it."""
    try:
        yield
    except (sqlite3.OperationalError, sqlite3.IntegrityError):
        raise
    except sqlite3.DatabaseError as error:
        damage_mark(path).touch()
        raise JournalDamaged(
            f"the journal {path} is damaged ({error}); the next start puts it aside"
        ) from error
