"""Rows of messages: each is stored once, with the counts that it adds to."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from msgspec import UNSET

from daemon.page.store.units import MILLION, MINUTE_MS, QUARTER_MS, TOP, known, ms
from daemon.protocol.messages import Event, FileEnd, Gap, Message, Prediction, Source, Status


class Inserter:
    """Inserts within the transactions of `db`, whose owner calls `forget` after an undone one."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._numbers: dict[tuple[str, tuple[object, ...]], int] = {}

    def forget(self) -> None:
        """Rows of the small tables may be gone, or undone."""
        self._numbers.clear()

    def insert(self, db: sqlite3.Connection, daemon: int, message: Message) -> bool:
        """Store a message of a daemon; whether it is new."""
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
        """The number of the row with these values, which is made if it is missing."""
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
