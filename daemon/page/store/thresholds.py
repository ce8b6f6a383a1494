"""What a threshold of a label would have given: windows, events, and right reviews."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from daemon.page.store.units import MILLION
from daemon.protocol.events import Heard, Rules, Tracker
from daemon.settings.schema import Events

BINS = 100  # of a histogram of scores
MOST_WINDOWS = 30_000  # read for one histogram, the newest: 0.05 s
MOST_TRACKED = 4_000  # of these, that the rule of events is applied to: 0.1 s
# Rows about which the score alone decided.
BY_SCORE = "(reason IS NULL OR reason IN ('below_threshold', 'unconfirmed'))"
LENGTH_S = 5.0  # of a window
HOP_S = {"file": 5.0, "mic": 2.5}  # from one window to the next, if the rows do not show it
RECENT = 200  # rows of a source that show it

Integers = NDArray[np.int64]


class Thresholds(Struct, frozen=True):
    """Histograms of `BINS` bins, and what one threshold gives."""

    label: str
    predictions: list[int]  # windows in this bin alone
    right: list[int]  # reviewed windows in this bin
    wrong: list[int]
    threshold: float
    windows: int  # that reach it, of the newest `MOST_TRACKED`
    events: int  # that they form
    hours: float  # from the first of these newest windows to the last


def thresholds(
    db: sqlite3.Connection,
    label: str,
    since: int,
    sources: list[int],
    threshold: float,
    rules: Mapping[int, Events],
) -> Thresholds:
    """Read the newest windows of a label since a time, from these sources.

    A window that was rejected for anything but its score (silence, an unknown sound, a denied
    label) would be rejected at any threshold, and is left out. `rules` are those of each daemon, by
    its number.
    """
    found = _windows(db, label, since, sources)
    bins = np.minimum(found[:, 2] * BINS // MILLION, BINS - 1)
    right, wrong = _reviewed(db, label, sources)
    newest = found[np.sort(np.argsort(found[:, 1], kind="stable")[-MOST_TRACKED:])]
    times = newest[:, 1]
    hours = float(times.max() - times.min()) / 3_600_000 if len(times) else 0.0
    least = round(threshold * MILLION)
    return Thresholds(
        label,
        np.bincount(bins, minlength=BINS).tolist(),
        right,
        wrong,
        threshold,
        int(np.count_nonzero(newest[:, 2] >= least)),
        _events(db, label, newest, least, rules),
        round(hours, 2),
    )


def _windows(db: sqlite3.Connection, label: str, since: int, sources: list[int]) -> Integers:
    """Source, time and score of each window, (n, 3), each source's in the order of time.

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
    return np.stack((source, at, score), axis=1)[np.lexsort((at, source))]


# -- events --------------------------------------------------------------------------------------


def _events(
    db: sqlite3.Connection,
    label: str,
    windows: Integers,
    least: int,
    rules: Mapping[int, Events],
) -> int:
    """How many events the windows form by the daemon's rule, if `least` were the threshold."""
    events = 0
    for number in np.unique(windows[:, 0]).tolist():
        daemon, kind, name = db.execute(
            "SELECT daemon, kind, name FROM sources WHERE number = ?", (number,)
        ).fetchone()
        own = windows[windows[:, 0] == number]
        cuts: list[int] = []
        if kind == "mic":
            cuts = np.searchsorted(own[:, 1], _breaks(db, daemon, name)).tolist()
        heard = _Heard(label, least, rules.get(daemon, Events()), _hop(db, number, kind))
        edges = [0, *cuts, len(own)]
        for first, last in pairwise(edges):
            events += heard.count(own[first:last, 1].tolist(), own[first:last, 2].tolist())
    return events


def _breaks(db: sqlite3.Connection, daemon: int, source: str) -> list[int]:
    """When all events of a microphone ended, whatever was heard. Times of windows, in ms.

    A window is published soon after its end, so it began before the message if it was heard before.
    """
    found = db.execute(
        "SELECT at FROM statuses WHERE daemon = ? AND (what = 'started' OR "
        "(what = 'source_lost' AND source = ?)) ORDER BY at",
        (daemon, source),
    )
    return [row[0] - round(1000 * LENGTH_S) for row in found]


def _hop(db: sqlite3.Connection, source: int, kind: str) -> float:
    """Seconds from one window of a source to the next: the median of the newest."""
    query = "SELECT at FROM predictions WHERE source = ? ORDER BY at DESC LIMIT ?"
    found = np.array([row[0] for row in db.execute(query, (source, RECENT))], np.int64)
    steps = -np.diff(found)
    steps = steps[steps > 0]
    return float(np.median(steps)) / 1000 if len(steps) else HOP_S[kind]


class _Heard:
    """Gives the windows of one label to the daemon's tracker, and those of others between them.

    The store is asked for this label alone: between two of its windows, there is one of another
    label for each further step of `hop_s` seconds.
    """

    def __init__(self, label: str, least: int, rules: Rules, hop_s: float) -> None:
        self._label, self._least, self._rules, self._hop_s = label, least, rules, hop_s

    def count(self, at: Sequence[int], scores: Sequence[int]) -> int:
        """The events that begin among windows at these times, ms, with scores in millionths."""
        if not at:
            return 0
        tracker, begun = Tracker(self._rules), 0
        far = self._rules.longest * self._hop_s + self._rules.of(self._label).end_after
        before = at[0] / 1000
        for ms, score in zip(at, scores, strict=True):
            starts = ms / 1000
            if starts - before > far + self._hop_s:
                tracker = Tracker(self._rules)
            else:
                self._pass_by(tracker, before, starts)
            passed = score >= self._least
            window = Heard(self._label, score / MILLION, passed, True, starts, starts + LENGTH_S)
            begun += sum(each.state == "start" for each in tracker.hear(window)[1])
            before = starts
        return begun

    def _pass_by(self, tracker: Tracker, before: float, starts: float) -> None:
        """The other windows between two."""
        between = round((starts - before) / self._hop_s) - 1
        if between > 0:
            at = starts - self._hop_s
            tracker.pass_by(between, Heard("", 0.0, False, False, at, at + LENGTH_S))


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
    bins = np.minimum(score * BINS // MILLION, BINS - 1)
    return (
        np.bincount(bins[right], minlength=BINS).tolist(),
        np.bincount(bins[~right], minlength=BINS).tolist(),
    )
