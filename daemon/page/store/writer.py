"""Write what daemons publish to the page's store. Each message is stored once, in transactions."""

from __future__ import annotations

import logging
import os
import sqlite3
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import astuple

from daemon.errors import StartError
from daemon.page.store.schema import FILE, MIGRATIONS, VERSION
from daemon.protocol.decoding import Received
from daemon.protocol.messages import Event, FileEnd, Gap, Message, Prediction, Source, Status
from daemon.protocol.states import Heartbeat

log = logging.getLogger(__name__)

Value = TypeVar("Value")

MILLION = 1_000_000
QUARTER_MS = 900_000
MINUTE_MS = 60_000
DAY_MS = 86_400_000
PRUNE_ROWS = 5_000  # deleted by one transaction
TOP = struct.Struct("<HI")


class Limits(msgspec.Struct, frozen=True):
    """How much the store keeps of predictions, events, gaps and statuses."""

    keep_days: float = 365.0
    keep_mb: float = 1000.0


class Store:
    """The writing connection, shared by all followers under a lock.

    Raises StartError if the file is from a newer version or cannot be opened.
    """

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.path = folder / FILE
        self.limits = limits or Limits()
        self._lock = threading.Lock()
        self._numbers: dict[tuple[str, tuple[object, ...]], int] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            os.close(fd)
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")  # replay refills it after a power cut
            self._migrate()
        except (OSError, sqlite3.DatabaseError) as error:
            raise StartError(
                f"the page's store {self.path} cannot be opened: {error}; check its folder and disk"
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
        """One transaction, undone on an error."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                self._numbers.clear()  # some may have been undone
                raise
            self._db.execute("COMMIT")

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
                if self._insert(db, daemon, message):
                    new.append(message)
            head = batch[-1].head
            db.execute(
                "UPDATE daemons SET journal = ?, seq = ?, last_id = ? WHERE number = ?",
                (head.journal, head.seq, head.id, daemon),
            )
        return new

    def _insert(self, db: sqlite3.Connection, daemon: int, message: Message) -> bool:
        match message:
            case Prediction():
                return self._prediction(db, daemon, message)
            case FileEnd():
                return self._end(db, daemon, message)
            case Event():
                return self._event(db, daemon, message)
            case Gap():
                return self._gap(db, daemon, message)
            case Status():
                return self._status(db, daemon, message)
        return False

    def _prediction(self, db: sqlite3.Connection, daemon: int, message: Prediction) -> bool:
        source = self._source(daemon, message.source.kind, message.source.name)
        window, at = message.window, ms(message.window.started_at)
        label = self._number("labels", name=message.label)
        accepted = message.decision == "accepted"
        top = b"".join(
            TOP.pack(self._number("labels", name=each.label), round(each.score * MILLION))
            for each in message.top
        )
        published, latency = ms(known(message.published_at)), round(known(message.latency_ms))
        row = (
            bytes.fromhex(message.id),
            source,
            self._file(source, message),
            at,
            published,
            round(1000 * window.start_s),
            round(1000 * (window.end_s - window.start_s)),
            round(1000 * window.padded_s),
            None if window.clock == "capture" else window.clock,
            getattr(window, "clock_doubt", UNSET) is not UNSET,
            label,
            round(message.score * MILLION),
            round(message.threshold * MILLION),
            None if accepted else message.reason or "rejected",
            round(100 * message.rms_dbfs),
            latency,
            top,
            self._number("models", name=f"{message.model.name} {message.model.version}"),
            message.private is True,
        )
        marks = ", ".join("?" * len(row))
        done = db.execute(f"INSERT OR IGNORE INTO predictions VALUES (NULL, {marks})", row)
        if not done.rowcount:
            return False
        self._note_voice(db, message)
        self._count(db, at // QUARTER_MS, source, label, accepted)
        db.execute(
            "INSERT INTO health (daemon, minute, files, messages, windows, latency, silent) "
            "VALUES (?, ?, 0, 0, 1, ?, ?) ON CONFLICT DO UPDATE SET windows = windows + 1, "
            "latency = latency + excluded.latency, silent = silent + excluded.silent",
            (daemon, published // MINUTE_MS, latency, int(message.reason == "silence")),
        )
        return True

    def _count(
        self, db: sqlite3.Connection, quarter: int, source: int, label: int, accepted: bool
    ) -> None:
        sums = int(accepted), int(not accepted)
        db.execute(
            "INSERT INTO counts VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "accepted = accepted + excluded.accepted, rejected = rejected + excluded.rejected",
            (quarter, source, label, *sums),
        )
        db.execute(
            "UPDATE labels SET accepted = accepted + ?, rejected = rejected + ? WHERE number = ?",
            (*sums, label),
        )

    def _note_voice(self, db: sqlite3.Connection, message: Prediction) -> None:
        """Note that part of a file is not to be heard."""
        window, path = message.window, message.source.path
        if message.private is True and path is not None:
            span = path, round(1000 * window.start_s), round(1000 * window.end_s)
            db.execute("INSERT OR IGNORE INTO voices VALUES (?, ?, ?)", span)

    def _file(self, source: int, message: Prediction) -> int | None:
        """The number of the file that holds a window's sound, None if no sound was kept."""
        if message.file_id is not None and message.source.path is not None:
            return self._numbered_file(source, message.file_id, message.source)
        if isinstance(message.audio, str):
            return self._number("files", source=source, path=message.audio)
        return None

    def _end(self, db: sqlite3.Connection, daemon: int, message: FileEnd) -> bool:
        source = self._source(daemon, message.source.kind, message.source.name)
        number = self._numbered_file(source, message.file_id, message.source)
        error = message.error
        done = db.execute(
            "UPDATE files SET ended = ?, state = ?, windows = ?, duration = ?, error_code = ?, "
            "error = ? WHERE number = ? AND ended IS NULL",
            (
                ms(known(message.published_at)),
                message.state,
                message.windows,
                message.duration_s,
                error and error.code,
                error and error.text,
                number,
            ),
        )
        return bool(done.rowcount)

    def _event(self, db: sqlite3.Connection, daemon: int, message: Event) -> bool:
        source = self._source(daemon, message.source.kind, message.source.name)
        ended = message.reason or "ended" if message.state == "end" else None
        done = db.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "until = excluded.until, peak = excluded.peak, windows = excluded.windows, "
            "ended = excluded.ended WHERE events.ended IS NULL "
            "AND (excluded.windows > events.windows OR excluded.ended IS NOT NULL)",
            (
                message.event_id,
                source,
                self._number("labels", name=message.label),
                ms(message.started_at),
                ms(message.heard_until),
                message.peak_score,
                message.windows,
                ended,
            ),
        )
        return bool(done.rowcount)

    def _gap(self, db: sqlite3.Connection, daemon: int, message: Gap) -> bool:
        source = self._source(daemon, message.source.kind, message.source.name)
        row = bytes.fromhex(message.id), source, ms(message.began_at)
        done = db.execute(
            "INSERT OR IGNORE INTO gaps VALUES (?, ?, ?, ?, ?)",
            (*row, message.duration_s, message.reason),
        )
        return bool(done.rowcount)

    def _status(self, db: sqlite3.Connection, daemon: int, message: Status) -> bool:
        done = db.execute(
            "INSERT OR IGNORE INTO statuses VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
            (
                bytes.fromhex(message.id),
                daemon,
                ms(known(message.published_at)),
                message.status,
                message.source.name if message.source else None,
                None if message.code is UNSET else message.code,
                message.text,
            ),
        )
        if done.rowcount and message.status == "started":
            db.execute(
                "INSERT INTO health (daemon, minute, files, messages, starts) "
                "VALUES (?, ?, 0, 0, 1) ON CONFLICT DO UPDATE SET starts = starts + 1",
                (daemon, ms(known(message.published_at)) // MINUTE_MS),
            )
        return bool(done.rowcount)

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

    # -- small tables --------------------------------------------------------------------------

    def _numbered_file(self, source: int, file_id: str, where: Source) -> int:
        return self._number(
            "files",
            file_id=bytes.fromhex(file_id),
            source=source,
            path=where.path or "",
            encoded=int(where.path_encoding is not UNSET),
        )

    def _source(self, daemon: int, kind: str, name: str) -> int:
        return self._number("sources", daemon=daemon, kind=kind, name=name)

    def _number(self, table: str, **values: object) -> int:
        """The number of the row with these values, made if there is none."""
        key = table, tuple(values.values())
        if (known := self._numbers.get(key)) is not None:
            return known
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        unique: Mapping[str, object] = (
            {"file_id": values["file_id"]} if values.get("file_id") is not None else values
        )
        where = " AND ".join(f"{name} = ?" for name in unique)
        query = f"SELECT number FROM {table} WHERE {where}"
        found = self._db.execute(query, tuple(unique.values())).fetchone()
        if found is None:
            done = self._db.execute(
                f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values())
            )
            found = (done.lastrowid,)
        if len(self._numbers) > 10_000:
            self._numbers.clear()
        self._numbers[key] = int(found[0])
        return int(found[0])

    # -- pruning -------------------------------------------------------------------------------

    def prune(self) -> int:
        """Delete rows that are too old or too many; the number of predictions deleted."""
        oldest = int(1000 * time.time() - DAY_MS * self.limits.keep_days)
        with self.write() as db:
            sizes = [
                db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_size", "page_count", "freelist_count")
            ]
            too_much = sizes[0] * (sizes[1] - sizes[2]) > 1e6 * self.limits.keep_mb
            condition = "1" if too_much else "at < ?"
            query = (
                "DELETE FROM predictions WHERE number IN (SELECT number FROM predictions "
                f"WHERE {condition} ORDER BY at LIMIT {PRUNE_ROWS})"
            )
            gone = db.execute(query, () if too_much else (oldest,)).rowcount
            row = db.execute("SELECT min(at) FROM predictions").fetchone()
            limit = max(oldest, row[0] or 0) if too_much else oldest
            db.execute("DELETE FROM events WHERE began < ? AND ended IS NOT NULL", (limit,))
            db.execute("DELETE FROM gaps WHERE began < ?", (limit,))
            db.execute("DELETE FROM statuses WHERE at < ?", (limit,))
            db.execute("DELETE FROM health WHERE minute < ?", (limit // MINUTE_MS,))
            if gone:
                db.execute(
                    "DELETE FROM files WHERE coalesce(ended, 0) < ? AND NOT EXISTS "
                    "(SELECT 1 FROM predictions p WHERE p.file = files.number) AND number "
                    "NOT IN (SELECT file FROM reviews WHERE file NOTNULL)",
                    (limit,),
                )
                db.execute("DELETE FROM voices WHERE path NOT IN (SELECT path FROM files)")
                self._numbers.clear()
        return int(gone)

    def backup(self, copy: Path) -> None:
        """Copy the store, reviews included, to a new file. Raises StartError if it exists."""
        if copy.exists():
            raise StartError(f"{copy} exists; name a new file")
        with closing(sqlite3.connect(copy)) as target, closing(self.connect()) as db:
            db.backup(target)


def ms(stamp: str) -> int:
    """An RFC 3339 time as milliseconds since 1970."""
    return round(1000 * datetime.fromisoformat(stamp).timestamp())


def known(value: Value | UnsetType) -> Value:
    """A field that every published message has. Raises ValueError without it."""
    if isinstance(value, UnsetType):
        raise ValueError("the message was never published")
    return value
