"""What each threshold of a label would have given: windows, events, and right ones of reviews."""

from __future__ import annotations

import sqlite3

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from daemon.page.store.writer import MILLION

BINS = 50  # of a histogram of scores
MOST_WINDOWS = 60_000  # read for one histogram, the newest: 0.1 s
# Rows about which the score alone decided.
BY_SCORE = "(reason IS NULL OR reason IN ('below_threshold', 'unconfirmed'))"
EVENT_GAP_MS = 10_000  # windows of one label that are nearer than this are one event

Integers = NDArray[np.int64]


class Thresholds(Struct, frozen=True):
    """Lists of `BINS` numbers: entry n is of scores from n / BINS on."""

    label: str
    predictions: list[int]  # windows in this bin alone
    events: list[int]  # if n / BINS were the threshold
    right: list[int]  # reviewed windows in this bin
    wrong: list[int]
    hours: float  # from the first window to the last


def thresholds(db: sqlite3.Connection, label: str, since: int, sources: list[int]) -> Thresholds:
    """Read the newest windows of a label since a time, from these sources.

    A window that was rejected for anything but its score (silence, an unknown sound, a denied
    label) would be rejected at any threshold, and is left out.
    """
    source, at, score = _windows(db, label, since, sources)
    bins = _bins(score)
    right, wrong = _reviewed(db, label, sources)
    hours = float(at.max() - at.min()) / 3_600_000 if len(at) else 0.0
    return Thresholds(
        label,
        np.bincount(bins, minlength=BINS).tolist(),
        _events(source, at, bins),
        right,
        wrong,
        round(hours, 2),
    )


def _windows(
    db: sqlite3.Connection, label: str, since: int, sources: list[int]
) -> tuple[Integers, Integers, Integers]:
    """Source, time and score of each window, (n,), each source's in the order of time.

    SQLite joins each column to one text: a hundred thousand rows as Python objects would take ten
    times as long.
    """
    columns = db.execute(
        "SELECT group_concat(source), group_concat(at), group_concat(score) FROM ("
        "SELECT source, at, score FROM predictions WHERE label = "
        f"(SELECT number FROM labels WHERE name = ?) AND at >= ? AND {BY_SCORE} "
        f"AND source IN ({', '.join('?' * len(sources))}) ORDER BY at DESC LIMIT ?)",
        (label, since, *sources, MOST_WINDOWS),
    ).fetchone()
    source, at, score = (np.fromstring(each or "", np.int64, sep=",") for each in columns)
    order = np.lexsort((at, source))
    return source[order], at[order], score[order]


def _bins(score: Integers) -> Integers:
    return np.minimum(score * BINS // MILLION, BINS - 1)


def _events(source: Integers, at: Integers, bins: Integers) -> list[int]:
    """For each threshold the runs of windows that reach it, without a long pause between them."""
    events = []
    for least in range(BINS):
        loud = bins >= least
        source, at, bins = source[loud], at[loud], bins[loud]
        pauses = (np.diff(at) > EVENT_GAP_MS) | (np.diff(source) != 0)
        events.append(int(np.count_nonzero(pauses)) + (len(at) > 0))
    return events


def _reviewed(
    db: sqlite3.Connection, label: str, sources: list[int]
) -> tuple[list[int], list[int]]:
    found = db.execute(
        "SELECT score, verdict = 'right' FROM reviews WHERE verdict != 'ignore' AND heard = "
        "(SELECT number FROM labels WHERE name = ?) "
        f"AND source IN ({', '.join('?' * len(sources))})",
        (label, *sources),
    ).fetchall()
    score = np.array([row[0] for row in found], np.int64)
    right = np.array([row[1] for row in found], bool)
    bins = _bins(score)
    return (
        np.bincount(bins[right], minlength=BINS).tolist(),
        np.bincount(bins[~right], minlength=BINS).tolist(),
    )
