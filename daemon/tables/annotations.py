"""Detections as programs that annotate sound read them: Raven Pro, Audacity, Kaleidoscope.

Raven: selection tables of Raven Pro 1.6. Audacity: label tracks of Audacity 3. Kaleidoscope: the
columns of its output that its manual lists (Wildlife Acoustics, Kaleidoscope Pro 5).
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, count
from pathlib import Path


@dataclass(frozen=True)
class Detection:
    """A label that was accepted for some seconds of a recording."""

    path: str
    start_s: float
    end_s: float
    label: str
    score: float
    started_at: str  # RFC 3339
    alternatives: tuple[str, ...] = ()  # the next best labels
    manual: str = ""  # the label that a person gave


@dataclass(frozen=True)
class Recording:
    """The detections of one recording, and its length."""

    path: str
    duration_s: float
    detections: tuple[Detection, ...]


def joined(detections: Iterable[Detection]) -> list[Detection]:
    """Neighbours of one label as one detection, with the best of their scores.

    `detections` are of one recording, in the order of time. One that a person gave another label
    stands alone.
    """
    made: list[Detection] = []
    for each in detections:
        last = made[-1] if made else None
        if last is None or _names(last) != _names(each) or each.start_s > last.end_s:
            made.append(each)
            continue
        end, score = max(last.end_s, each.end_s), max(last.score, each.score)
        made[-1] = replace(last, end_s=end, score=score, manual=last.manual or each.manual)
    return made


def _names(detection: Detection) -> tuple[str, str]:
    return detection.label, detection.manual or detection.label


_UNPORTABLE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
RAVEN = (
    "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)",
    "High Freq (Hz)", "Begin Path", "File Offset (s)", "Label", "Score",
)  # fmt: skip
LOW_HZ, HIGH_HZ = "0.0", "8000.0"  # the model's band ends here
KALEIDOSCOPE = (
    "INDIR", "FOLDER", "IN FILE", "CHANNEL", "OFFSET", "DURATION", "DATE", "TIME", "HOUR",
    "AUTO ID", "MATCH RATIO", "ALTERNATE 1", "ALTERNATE 2", "MANUAL ID",
)  # fmt: skip


def raven(recordings: Iterable[Recording]) -> Iterator[str]:
    """A selection table. In one of several recordings, times count from the first one's start."""
    # Raven has no quoting, so a name cannot hold tabs or line ends.
    yield "\t".join(RAVEN) + "\n"
    number, before = 0, 0.0
    for recording in recordings:
        for each in recording.detections:
            number += 1
            row = (
                number, "Spectrogram 1", 1, _seconds(before + each.start_s),
                _seconds(before + each.end_s), LOW_HZ, HIGH_HZ, each.path, _seconds(each.start_s),
                each.label, f"{each.score:.4f}",
            )  # fmt: skip
            yield "\t".join(_plain(str(cell)) for cell in row) + "\n"
        before += recording.duration_s


def audacity(recordings: Iterable[Recording]) -> Iterator[str]:
    """A label track: start, end and label. Its scores follow the labels."""
    for recording in recordings:
        for each in recording.detections:
            span = f"{_seconds(each.start_s)}\t{_seconds(each.end_s)}"
            yield f"{span}\t{_plain(each.label)} {each.score:.2f}\n"


def kaleidoscope(recordings: Iterable[Recording]) -> Iterator[str]:
    """A CSV with a row for each detection. DATE and TIME are the detection's, in UTC."""
    yield _csv_line(KALEIDOSCOPE)
    for recording in recordings:
        for each in recording.detections:
            folder, name = os.path.split(each.path)
            at = datetime.fromisoformat(each.started_at)
            others = [*each.alternatives, "", ""][:2]
            row = (
                folder, "", name, "0", _seconds(each.start_s), _seconds(each.end_s - each.start_s),
                f"{at:%Y-%m-%d}", f"{at:%H:%M:%S}", f"{at:%H}", each.label, f"{each.score:.4f}",
                *others, each.manual,
            )  # fmt: skip
            yield _csv_line(row)


def _csv_line(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _seconds(value: float) -> str:
    return f"{value:.6f}"


def _plain(cell: str) -> str:
    return " ".join(cell.split("\t")).replace("\n", " ").replace("\r", " ")


WRITERS: dict[str, Callable[[Iterable[Recording]], Iterator[str]]] = {
    "raven": raven,
    "audacity": audacity,
    "kaleidoscope": kaleidoscope,
}
SUFFIXES = {"raven": ".Table.1.selections.txt", "audacity": ".txt", "kaleidoscope": ".csv"}


class Names:
    """Names of tables of a format, one for each recording: like its own, never one twice.

    `portable` ones hold nothing that another system forbids, or that a terminal obeys.
    """

    def __init__(self, kind: str, portable: bool = False) -> None:
        self._suffix, self._portable = SUFFIXES[kind], portable
        self._given: set[str] = set()

    def of(self, recording: Recording) -> str:
        stem = Path(recording.path).stem
        if self._portable:
            stem = _UNPORTABLE.sub("_", stem)
        numbered = (f"{stem}-{number}" for number in count(2))
        name = next(each for each in chain([stem], numbered) if each not in self._given)
        self._given.add(name)
        return name + self._suffix
