"""The newest pictures that daemons publish, in a file beside the store: bounded, and not backed up.

The page draws a picture that is not here from the sound, if there is any.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from daemon.errors import StartError
from daemon.host.keeping import private_database

log = logging.getLogger(__name__)

FILE = "pictures.sqlite3"
BYTES = 4_096  # of one, about, with its place in the file
SHARE = 0.2  # of the limit of the whole store
MOST = 65_536  # bytes of one; a daemon's have about 4 kB
MAGIC = b"\x89PNG\r\n\x1a\n"
SLACK = 1.02  # how many there may be, in parts of the limit, before some are deleted


class Pictures:
    """Pictures by the `id` of their prediction. Safe to use from several threads.

    Raises StartError if the file cannot be opened.
    """

    def __init__(self, folder: Path, keep_mb: float) -> None:
        self.path = folder / FILE
        self._most = max(1_000, int(SHARE * keep_mb * 1e6 / BYTES))
        self._lock = threading.Lock()
        try:
            self._db = self._open()
        except sqlite3.DatabaseError:  # damaged: pictures are not worth a repair
            with suppress(OSError):
                self.path.unlink()
            self._db = self._open()
        self._count: int = self._db.execute("SELECT count(*) FROM pictures").fetchone()[0]

    def _open(self) -> sqlite3.Connection:
        try:
            # OFF: a power cut may lose pictures.
            with private_database(self.path, "OFF", one_thread=False) as db:
                db.execute(
                    "CREATE TABLE IF NOT EXISTS pictures "
                    "(number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, png BLOB NOT NULL)"
                )
            return db
        except OSError as error:
            raise StartError(f"the page cannot write {self.path}: {error.strerror}") from error

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def add(self, pictures: Iterable[tuple[str, bytes]]) -> None:
        """Keep these, each the `id` of a prediction and a PNG; the oldest make room.

        It leaves out data that are no picture, and all of them while the disk refuses.
        """
        rows = [(bytes.fromhex(id), png) for id, png in pictures if _is_picture(id, png)]
        try:
            self._insert(rows)
        except sqlite3.OperationalError as error:
            log.warning("pictures cannot be kept in %s: %s", self.path, error)

    def _insert(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        with self._lock, self._db, closing(self._db.cursor()) as cursor:
            cursor.execute("BEGIN")
            cursor.executemany("INSERT OR IGNORE INTO pictures (id, png) VALUES (?, ?)", rows)
            added = cursor.rowcount
            if self._count + added > SLACK * self._most:
                cursor.execute(
                    "DELETE FROM pictures WHERE number <= "
                    "(SELECT number FROM pictures ORDER BY number DESC LIMIT 1 OFFSET ?)",
                    (self._most,),
                )
                added -= cursor.rowcount
            self._count += added

    def get(self, id: str) -> bytes | None:
        """The PNG of a prediction; None if it is not here."""
        with self._lock:
            row = self._db.execute(
                "SELECT png FROM pictures WHERE id = ?", (bytes.fromhex(id),)
            ).fetchone()
        return None if row is None else bytes(row[0])


def _is_picture(id: str, png: bytes) -> bool:
    return re.fullmatch("[0-9a-f]{32}", id) is not None and png[:8] == MAGIC and len(png) < MOST
