"""Outputs of `tinyastd classify`: tables in many formats, embeddings, segments."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol, TextIO

import soundfile

from daemon.commands.batch.classify_output import CSV_FIELDS, FAILED, ROWS, Result, shown
from daemon.errors import SettingsError, words_for
from daemon.monitoring.logging import counted, printable
from daemon.protocol.messages import Prediction
from daemon.tables.annotations import WRITERS, Detection, Names, Recording, joined
from daemon.tables.parquet import Embedded, EmbeddingWriter, TableWriter
from tinyast.audio.decoding import opened
from tinyast.errors import AudioError

PARQUET = ".parquet"
KINDS = {  # by the suffix of the output's name
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    PARQUET: "parquet",
    ".selections.txt": "raven",
}
MOST_STEM = 220  # bytes of a segment's name, which has 255 at most, for that of its file
PLAIN = ("", ".txt", ".log")  # suffixes of a table for people


class Sink(Protocol):
    """Takes results, one file at a time."""

    def add(self, result: Result) -> None: ...

    def close(self) -> None:
        """Write the rest."""
        ...


@dataclass(frozen=True)
class Extras:
    """Further outputs of a call of `classify`."""

    join: bool = False  # neighbours of one label are one row of a format for annotations
    embeddings: Path | None = None
    segments: Path | None = None
    least: float = 0.0  # score of a segment
    most: float = 1.0
    per_label: int | None = None  # segments of each label, the best ones
    summary: bool = False

    def sinks(self) -> Iterator[Sink]:
        """Raises SettingsError, CannotWrite."""
        if self.embeddings is not None:
            if self.embeddings.suffix != PARQUET:  # by which `similar` knows it
                named = self.embeddings.with_suffix(PARQUET)
                raise SettingsError(f"--embeddings writes Parquet only: name the file {named}")
            yield Embeddings(self.embeddings)
        if self.segments is None and (self.least, self.most, self.per_label) != (0.0, 1.0, None):
            raise SettingsError("--min, --max and --per-label choose segments: add --segments DIR")
        if self.segments is not None:
            yield Segments(self.segments, self.least, self.most, self.per_label)
        if self.summary:
            yield Summary()


def kind_of(kind: str | None, output: Path | None) -> str:
    """The format asked for, or the one that the suffix of `output` says; without any, a table.

    Raises SettingsError for a suffix of no format.
    """
    if kind is not None or output is None:
        return kind or "table"
    found = [known for suffix, known in KINDS.items() if output.name.endswith(suffix)]
    if not found and output.suffix not in PLAIN and not output.is_dir():
        raise SettingsError(
            f"--output {output}: no format has the suffix {output.suffix}; choose one of "
            f"{', '.join(KINDS)}, or give --format too"
        )
    return found[0] if found else "table"


def sink(kind: str, output: Path | None, go_on: bool, join: bool) -> Sink:
    """Writes results of a format to `output`, or prints them. Raises SettingsError, CannotWrite."""
    if join and kind not in WRITERS:
        raise SettingsError(f"--join is for {', '.join(WRITERS)}, not for {kind}")
    if kind in WRITERS:
        return Annotations(kind, output, join)
    if kind == "parquet":
        if output is None:
            raise SettingsError("Parquet is for files: name one with --output")
        return Table(output)
    return Lines(kind, output, go_on)


def _open(output: Path, go_on: bool = False) -> TextIO:
    try:
        return output.open("a" if go_on else "w", encoding="utf-8", newline="")
    except OSError as error:
        raise SettingsError(f"cannot write {output}: {words_for(error, output)}") from error


class Lines:
    """Text that grows with each file: table, CSV, JSON lines."""

    def __init__(self, kind: str, output: Path | None, go_on: bool) -> None:
        self._rows = ROWS[kind]
        self._file = None if output is None else _open(output, go_on)
        self._out = self._file or sys.stdout
        if kind == "csv" and not (self._file is not None and self._file.tell()):
            self._out.write(",".join(CSV_FIELDS) + "\n")

    def add(self, result: Result) -> None:
        self._out.write(self._rows(result))
        self._out.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class Annotations:
    """Accepted windows for a program that annotates: a table of all, or one for each recording."""

    def __init__(self, kind: str, output: Path | None, join: bool) -> None:
        self._kind, self._output, self._join = kind, output, join
        self._recordings: list[Recording] = []
        self._names = Names(kind)
        if output is not None and not output.is_dir():
            _open(output).close()

    def add(self, result: Result) -> None:
        if result.predictions:
            recording = _recording(result, self._join)
            if self._output is not None and self._output.is_dir():
                self._write(self._output / self._names.of(recording), [recording])
            else:
                self._recordings.append(recording)

    def close(self) -> None:
        if self._kind == "audacity" and len(self._recordings) > 1:
            raise SettingsError(
                "a label track of Audacity belongs to one recording: name a folder with --output"
            )
        if self._recordings or self._output is None or not self._output.is_dir():
            self._write(self._output, self._recordings)

    def _write(self, output: Path | None, recordings: list[Recording]) -> None:
        lines = WRITERS[self._kind](recordings)
        if output is None:
            sys.stdout.writelines(lines)
            return
        with _open(output) as file:
            file.writelines(lines)


def _recording(result: Result, join: bool) -> Recording:
    accepted = [_detection(each) for each in result.predictions if each.decision == "accepted"]
    return Recording(
        shown(result.path),
        result.predictions[-1].window.end_s,
        tuple(joined(accepted) if join else accepted),
    )


def _detection(item: Prediction) -> Detection:
    window = item.window
    others = tuple(each.label for each in item.top[1:3])
    path = item.source.path or ""
    return Detection(
        path, window.start_s, window.end_s, item.label, item.score, window.started_at, others
    )


class Table:
    """All windows as a Parquet file, and a row for each file that failed."""

    def __init__(self, output: Path) -> None:
        self._writer = TableWriter(output)

    def add(self, result: Result) -> None:
        self._writer.write(parquet_rows(result))

    def close(self) -> None:
        self._writer.close()


Row = dict[str, str | float | None]


def parquet_rows(result: Result, ranks: int = 3) -> list[Row]:
    """The rows of one file for Parquet, with its `ranks` best labels; the last says its error."""
    rows = [_cells(item, ranks) for item in result.predictions]
    if result.error is not None:
        error = {"reason": result.error.code, "error": result.error.text}
        rows.append({"path": shown(result.path), "decision": FAILED, **error})
    return rows


def _cells(item: Prediction, ranks: int) -> Row:
    window = item.window
    row: Row = {
        "path": item.source.path,
        "start_s": window.start_s,
        "end_s": window.end_s,
        "label": item.label,
        "score": item.score,
        "decision": item.decision,
        "reason": item.reason,
        "started_at": window.started_at,
        "clock": window.clock,
        "rms_dbfs": item.rms_dbfs,
        "model": f"{item.model.name} {item.model.version}",
    }
    for place, each in enumerate(item.top[1:ranks], start=2):
        row |= {f"label_{place}": each.label, f"score_{place}": each.score}
    return row


class Embeddings:
    """The embedding of each window, as a Parquet file."""

    def __init__(self, output: Path) -> None:
        self._writer = EmbeddingWriter(output)

    def add(self, result: Result) -> None:
        self._writer.write(
            Embedded(
                item.source.path or "",
                item.window.start_s,
                item.window.end_s,
                f"{item.model.name} {item.model.version}",
                embedding,
            )
            for item, embedding in zip(result.predictions, result.embeddings, strict=True)
        )

    def close(self) -> None:
        self._writer.close()


class Segments:
    """Cuts accepted windows out, into a folder with a sub-folder for each label."""

    def __init__(self, folder: Path, least: float, most: float, per_label: int | None) -> None:
        """Raises SettingsError if `folder` cannot be made, or no score is in the range."""
        if not 0 <= least <= most <= 1:
            raise SettingsError(
                f"--min {least:g} and --max {most:g} choose no score: both are shares from 0 to 1, "
                "and --min is not above --max"
            )
        self._folder, self._least, self._most = folder, least, most
        self._per_label = per_label
        self._found: list[tuple[float, bytes, Prediction]] = []
        self._written: set[Path] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"cannot make {folder}: {words_for(error, folder)}") from error

    def add(self, result: Result) -> None:
        for item in result.predictions:
            if item.decision == "accepted" and self._least <= item.score <= self._most:
                self._found.append((item.score, result.path, item))

    def close(self) -> None:
        """Cut the segments: all, or the best of each label."""
        cut: Counter[str] = Counter()
        for score, path, item in sorted(self._found, key=lambda each: -each[0]):
            if self._per_label is not None and cut[item.label] >= self._per_label:
                continue
            cut[item.label] += 1
            stem = Path(shown(path)).stem.encode()[:MOST_STEM].decode(errors="ignore")
            name = f"{score:.3f}_{stem}_{item.window.start_s:09.2f}"
            kind = item.label.replace("/", "_")  # one from a CSV may hold anything
            self._cut(path, item, self._unused(self._folder / kind, name))

    def _unused(self, folder: Path, name: str) -> Path:
        """A name that no other segment of this call has: recorders in two folders may share one."""
        target = folder / f"{name}.wav"
        for number in count(2):
            if target not in self._written:
                break
            target = folder / f"{name}_{number}.wav"
        self._written.add(target)
        return target

    @staticmethod
    def _cut(path: bytes, item: Prediction, target: Path) -> None:
        try:
            with opened(path.decode(errors="surrogateescape")) as recording:
                rate = recording.rate
                start, end = round(item.window.start_s * rate), round(item.window.end_s * rate)
                samples = recording.read(start, min(end, recording.frames))
            target.parent.mkdir(exist_ok=True)
            sound = io.BytesIO()  # libsndfile does not say why it cannot write a file
            soundfile.write(sound, samples, rate, format="WAV", subtype="PCM_16")
            target.write_bytes(sound.getvalue())
        except (AudioError, OSError) as error:
            print(f"no segment {printable(str(target))}: {error}", file=sys.stderr)


class Summary:
    """Counts, printed at the end."""

    def __init__(self) -> None:
        self._files, self._failed, self._windows = 0, 0, 0
        self._labels: Counter[str] = Counter()

    def add(self, result: Result) -> None:
        self._files += 1
        self._failed += result.error is not None
        self._windows += len(result.predictions)
        accepted = [item for item in result.predictions if item.decision == "accepted"]
        self._labels.update(item.label for item in accepted)

    def close(self) -> None:
        found = ", ".join(f"{label} {count}" for label, count in self._labels.most_common())
        print(
            f"{counted(self._files, 'file')}, {counted(self._windows, 'window')}, "
            f"{self._labels.total()} accepted" + (f": {found}" if found else ""),
            file=sys.stderr,
        )
