"""Copy the journal while the daemon runs, and restore a copy while it is stopped."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from daemon.errors import JournalError, SettingsError, words_for
from daemon.host.files import give_to_owner_of
from daemon.host.locks import Lock, lock_path
from daemon.journal.files import journal_path, put_aside
from daemon.journal.migrations import VERSION
from daemon.journal.recovery import give_new_uuid


def backup(state: Path, target: Path) -> int:
    """Copy the journal in `state` to the new file `target`; return its newest seq.

    The copy has the state of one moment; the daemon keeps running. Raises SettingsError if the
    file exists or cannot be created, JournalError if the journal cannot be read.
    """
    if not journal_path(state).exists():
        raise JournalError(f"there is no journal in {state}; name the daemon's --state")
    if target.exists():
        raise SettingsError(f"{target} exists; a backup is written to a new file")
    with _copied(journal_path(state), target) as copy:
        return _newest(copy, journal_path(state))


_NAME_A_COPY = "name a file that `tinyastd backup` wrote"


def restore(source: Path, state: Path) -> tuple[int, Path | None]:
    """Replace the journal in `state` by the copy `source`.

    Returns its newest seq, and the new path of the previous journal. Other messages have already
    used the numbers above that seq, so the restored journal gets a new UUID, also in its stored
    messages; subscribers then read it from its start. Raises StartError if a daemon runs,
    JournalError if `source` is not a complete journal or is newer than this daemon supports.
    """
    if not source.is_file():
        raise JournalError(f"there is no file {source}; {_NAME_A_COPY}")
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"cannot make {state}: {words_for(error, state)}") from error
    lock = Lock(lock_path(state), f"the state directory {state}", folder=True)
    try:
        path = journal_path(state)
        fresh = path.with_name(f"{path.name}.restored")
        with _copied(source, fresh) as copy:
            newest = _newest(copy, source)
            give_new_uuid(copy)
        with fresh.open("rb") as restored:
            give_to_owner_of(state, restored.fileno())
        replaced = path.exists()
        aside = put_aside(path, "replaced")  # also files that a missing journal left behind
        os.rename(fresh, path)
    finally:
        lock.release()
    return newest, aside if replaced else None


@contextmanager
def _copied(source: Path, target: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a copy of `source`; it moves to `target` if the block succeeds."""
    part = target.with_name(target.name + ".part")
    uri = f"{source.absolute().as_uri()}?mode=ro"
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(part, isolation_level=None)) as copy:
            with closing(sqlite3.connect(uri, uri=True)) as original:
                original.backup(copy)
            # One file, without a WAL beside it that could be forgotten.
            copy.execute("PRAGMA journal_mode = DELETE")
            yield copy
        with part.open("rb") as written:
            os.fsync(written.fileno())
        os.rename(part, target)
    except OSError as error:
        raise SettingsError(f"cannot write {target}: {words_for(error, target)}") from error
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise JournalError(f"{source} is no journal; {_NAME_A_COPY}") from error
        raise JournalError(f"{source} cannot be copied to {target}: {error}") from error
    finally:
        for name in (part, part.with_name(part.name + "-journal")):
            with suppress(OSError):
                name.unlink()


def _newest(copy: sqlite3.Connection, source: Path) -> int:
    """The newest seq of a copied journal. Raises JournalError for other or damaged files."""
    version = copy.execute("PRAGMA user_version").fetchone()[0]
    if not 1 <= version <= VERSION:
        what = "of a newer version than this daemon knows" if version else "no journal of tinyastd"
        raise JournalError(f"{source} is {what}")
    found = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise JournalError(f"{source} is damaged: {found}")
    return int(copy.execute("SELECT ifnull(max(seq), 0) FROM newest").fetchone()[0])
