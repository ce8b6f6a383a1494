"""Costs as data grow: long files, old messages, finished files."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from scripts.benchmark.figures import Counts, Figure
from scripts.benchmark.machine import cpu_s, memory_mb
from scripts.benchmark.parts.helpers import shares
from scripts.benchmark.parts.load import heard, written
from scripts.benchmark.served import FILES, Bed, Served, ask, listening
from scripts.benchmark.sound import SECONDS, recording

REPLAYED = 100  # of the last messages
RESCAN_S = 600.0  # how often a folder is scanned by default
LINKS = 50_000  # to one file: file systems allow some 65,000
KEEP = "[journal]\nkeep_mb = 100000\nkeep_days = 10000\n"  # avoid pruning during the measurement


def measure(bed: Bed, counts: Counts) -> list[Figure]:
    figures = _lengths(bed, counts)
    for rows in counts.rows:
        figures += _journal(bed, counts, rows)
    return figures + _finished(bed, counts)


# -- long files ----------------------------------------------------------------------------------


def _lengths(bed: Bed, counts: Counts) -> list[Figure]:
    """One file at a time: the cost of one window, and the memory afterwards."""
    figures = []
    with bed.serve() as served, heard(served, recording(0), FILES) as subscriber:
        for seconds in counts.lengths_s:
            path = served.base / "long.wav"
            path.write_bytes(recording(1, seconds))
            begin = time.perf_counter()
            path.rename(served.folder / f"long-{seconds:g}.wav")
            took = 1000 * (subscriber.count(1) - begin)
            name = f"file of {seconds:g} s"
            figures += [
                Figure(f"{name}, a window", "ms", (took * SECONDS / seconds,)),
                Figure(f"{name}, memory after", "MB", (memory_mb(served.pid),)),
            ]
    return figures


# -- old messages --------------------------------------------------------------------------------


def _journal(bed: Bed, counts: Counts, rows: int) -> list[Figure]:
    """Start, replay and latency with a prepared journal of `rows` messages."""
    with bed.folder() as base:
        options = _keeping_all(base)
        with bed.serve(*options, base=base) as served:
            _hear_one(served, "first.wav")
        _fill(base / "state" / "journal.sqlite3", rows)
        with bed.serve(*options, base=base) as served:
            newest = json.loads(ask(served, {"since": 0, "limit": 1})[0])["newest"]
            wanted = min(REPLAYED, newest)  # exclude messages that arrive during the request
            begin = time.perf_counter()
            frames = ask(served, {"since": newest - wanted, "limit": wanted})
            replay = 1000 * (time.perf_counter() - begin)
            assert len(frames) == 1 + 2 * wanted
            latencies = _latencies(served, counts.files)
    name = f"journal of {rows} rows"
    return [
        Figure(f"{name}, exec to ready", "ms", (1000 * served.ready_s,)),
        Figure(f"{name}, replay of the last {REPLAYED}", "ms", (replay,)),
        Figure(f"{name}, written to heard", "ms", latencies),
    ]


def _keeping_all(base: Path) -> tuple[str, str]:
    (base / "settings.toml").write_text(KEEP)
    return "--config", str(base / "settings.toml")


def _hear_one(served: Served, name: str) -> None:
    with listening(served, FILES, lambda n: written(served.folder / f"{n}-{name}", recording(n))):
        pass


def _latencies(served: Served, files: int) -> tuple[float, ...]:
    took = []
    sounds = [recording(kind) for kind in range(10)]
    with heard(served, sounds[0]) as subscriber:
        for number in range(files):
            time.sleep(0.02)
            at = written(served.folder / f"one-{number:06}.wav", sounds[number % len(sounds)])
            took.append(1000 * (subscriber.next()[0] - at))
    return tuple(took)


def _fill(journal: Path, rows: int) -> None:
    """Fill a journal up to `rows` messages with copies of its newest prediction."""
    with closing(sqlite3.connect(journal, isolation_level=None)) as db:
        db.execute("PRAGMA cache_size = -400000")  # kB
        db.execute("BEGIN")
        (newest,) = db.execute("SELECT max(seq) FROM newest").fetchone()
        seq, at, topic, body = db.execute(
            "SELECT seq, at, topic, body FROM messages WHERE topic LIKE 'tinyast.v1.prediction.%' "
            "ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        before, after = body.split(b'"seq":%d' % seq)
        db.executemany(
            "INSERT INTO messages VALUES (?, randomblob(16), ?, ?, ?)",
            (
                (number, at, topic, b'%s"seq":%d%s' % (before, number, after))
                for number in range(newest + 1, rows + 1)
            ),
        )
        db.execute("UPDATE newest SET seq = max(seq, ?) WHERE type = 'prediction'", (rows,))
        db.execute("COMMIT")


# -- finished files ------------------------------------------------------------------------------


def _finished(bed: Bed, counts: Counts) -> list[Figure]:
    """Idle load, scan and latency with many finished files in the folder."""
    with bed.folder() as base:
        with bed.serve(base=base) as served:
            _hear_one(served, "first.wav")
        _leave(base, counts.finished)
        with bed.serve(base=base) as served:
            time.sleep(0.5)  # for the scan to begin
            while _is_scanning(served):
                time.sleep(0.1)
            scan = cpu_s(served.pid)
            (idle,) = shares([served.pid], counts.idle_s)
            latencies = _latencies(served, counts.files)
    name = f"{counts.finished} finished files"
    every = f"with a scan every {RESCAN_S:g} s"
    return [
        Figure(f"{name}, processor time of start and scan", "s", (scan,)),
        Figure(f"{name}, idle", "%", idle, "between scans"),
        Figure(f"{name}, idle in all", "%", tuple(i + 100 * scan / RESCAN_S for i in idle), every),
        Figure(f"{name}, written to heard", "ms", latencies),
    ]


def _leave(base: Path, files: int) -> None:
    """Make links to a few files, and ledger rows as if each link had been classified."""
    folder = base / "in"
    for number in range(files):
        first = base / f"original-{number // LINKS}.wav"
        if not first.exists():
            first.write_bytes(recording(number))
        os.link(first, folder / f"finished-{number:07}.wav")
    with closing(sqlite3.connect(base / "state" / "journal.sqlite3", isolation_level=None)) as db:
        found = db.execute("SELECT * FROM files WHERE state = 'done' LIMIT 1").fetchone()
        source, rest = found[1], found[6:]
        db.execute("BEGIN")
        db.executemany(
            f"INSERT OR REPLACE INTO files VALUES ({', '.join('?' * len(found))})",
            (
                (os.fsencode(entry.path), source, at.st_ino, at.st_size, at.st_mtime_ns,
                 at.st_ctime_ns, *rest)
                for entry in os.scandir(folder)
                if entry.name.startswith("finished-")
                for at in (entry.stat(),)
            ),
        )  # fmt: skip
        db.execute("COMMIT")


def _is_scanning(served: Served) -> bool:
    (answer,) = ask(served, {"status": True})
    return any(source.get("scanning") for source in json.loads(answer)["sources"])
