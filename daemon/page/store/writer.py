"""Write what daemons publish to the page's store. Each message is stored once, in transactions."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
from msgspec.structs import astuple

from daemon.errors import DaemonError, StartError, words_for
from daemon.host.keeping import private_database
from daemon.page.store.inserting import Inserter
from daemon.page.store.pruning import Limits, prune
from daemon.page.store.schema import FILE, MIGRATIONS, VERSION
from daemon.page.store.units import MINUTE_MS, known, ms
from daemon.protocol.decoding import Received
from daemon.protocol.messages import Message
from daemon.protocol.states import Heartbeat

log = logging.getLogger(__name__)


class CannotStore(DaemonError):
    """The disk does not take rows now; it may later."""


def _is_damage(error: BaseException) -> bool:
    """Whether SQLite found wrong content: its other errors are of subclasses."""
    return type(error) is sqlite3.DatabaseError


class Store:
    """The writing connection, shared by all followers under a lock.

    Raises StartError if the file is from a newer version or cannot be opened.
    """

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.path = folder / FILE
        self.limits = limits or Limits()
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # NORMAL: replay refills what a power cut takes.
            with private_database(self.path, "NORMAL", one_thread=False) as self._db:
                self._file = self.path.stat()
                self._migrate()
                self._inserter = Inserter(self._db)
        except (OSError, sqlite3.DatabaseError) as error:
            if _is_damage(error):
                raise self._damaged(error) from error
            words = words_for(error, folder) if isinstance(error, OSError) else str(error)
            raise StartError(
                f"the page's store {self.path} cannot be opened: {words}; see --store"
            ) from error

    def _migrate(self) -> None:
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found > VERSION:
            raise StartError(
                f"the page's store {self.path} has version {found}; this tinyast knows only up to "
                f"{VERSION}: install a newer one"
            )
        for number, script in enumerate(MIGRATIONS[found:], found + 1):
            self._db.executescript(f"BEGIN;{script};PRAGMA user_version = {number};COMMIT;")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def connect(self) -> sqlite3.Connection:
        """A connection for one reader."""
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        return db

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction, undone on an error.

        Raises CannotStore while the disk refuses, StartError if the file was deleted, replaced or
        damaged.
        """
        with self._lock:
            self._check_place()
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                self._inserter.forget()
                if isinstance(error, sqlite3.OperationalError):
                    text = f"the page's store {self.path} cannot be written now ({error})"
                    raise CannotStore(text) from error
                if _is_damage(error):
                    raise self._damaged(error) from error
                raise

    def _check_place(self) -> None:
        try:
            same = os.path.samestat(self.path.stat(), self._file)
        except FileNotFoundError:
            same = False
        if not same:
            raise StartError(
                f"the page's store {self.path} was deleted or replaced; start the page again, and "
                "it asks the daemon for what that still has"
            )

    def _damaged(self, error: BaseException) -> StartError:
        return StartError(
            f"the page's store {self.path} is damaged ({error}). Move it away and start the page "
            "again: it asks the daemon for what that still has. Reviews are lost with it, unless "
            f"you have a copy (`--backup`) or `sqlite3 {self.path} .recover` finds them"
        )

    # -- daemons -------------------------------------------------------------------------------

    def daemon(self, endpoint: str) -> tuple[int, str | None, int, str | None]:
        """The number of a daemon, and journal, seq and id of its newest stored message."""
        with self.write() as db:
            db.execute("INSERT OR IGNORE INTO daemons (endpoint) VALUES (?)", (endpoint,))
            row = db.execute(
                "SELECT number, journal, seq, last_id FROM daemons WHERE endpoint = ?", (endpoint,)
            ).fetchone()
        return int(row[0]), row[1], int(row[2]), row[3]

    def add(self, daemon: int, batch: Sequence[Received]) -> list[Message]:
        """Store messages of one daemon with its new cursor; return those that are new."""
        new: list[Message] = []
        with self.write() as db:
            for received in batch:
                try:
                    message = received.content
                except msgspec.ValidationError as error:
                    log.warning("message %d breaks the contract: %s", received.head.seq, error)
                    continue
                if self._inserter.insert(db, daemon, message):
                    new.append(message)
            head = batch[-1].head
            db.execute(
                "UPDATE daemons SET journal = ?, seq = ?, last_id = ? WHERE number = ?",
                (head.journal, head.seq, head.id, daemon),
            )
        return new

    def beat(self, daemon: int, beat: Heartbeat) -> None:
        """Note the backlog of this minute."""
        row = daemon, ms(known(beat.published_at)) // MINUTE_MS, *astuple(beat.backlog)
        with self.write() as db:
            db.execute("UPDATE daemons SET node = ? WHERE number = ?", (beat.node, daemon))
            db.execute(
                "INSERT INTO health (daemon, minute, files, messages) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET files = max(files, excluded.files), "
                "messages = max(messages, excluded.messages)",
                row,
            )

    def note_sizes(self, daemon: int, journal_bytes: int) -> None:
        """Note the size of a daemon's journal and of this store."""
        row = daemon, int(time.time() * 1000) // MINUTE_MS, journal_bytes, self.size()
        with self.write() as db:
            db.execute(
                "INSERT INTO health (daemon, minute, files, messages, journal, store) "
                "VALUES (?, ?, 0, 0, ?, ?) ON CONFLICT DO UPDATE SET "
                "journal = excluded.journal, store = excluded.store",
                row,
            )

    def size(self) -> int:
        """Bytes of the store's file."""
        return self.path.stat().st_size

    def prune(self) -> int:
        """Delete rows that are too old or too many; the number of predictions deleted."""
        with self.write() as db:
            if gone := prune(db, self.limits):
                self._inserter.forget()
        return gone

    def backup(self, copy: Path) -> None:
        """Copy the store, reviews included, to a new file. Raises StartError if it exists."""
        if copy.exists():
            raise StartError(f"{copy} exists; name a new file")
        with closing(sqlite3.connect(copy)) as target, closing(self.connect()) as db:
            db.backup(target)
