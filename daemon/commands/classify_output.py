"""The output of `tinyastd classify`: tables, CSV and JSON lines, written and read back."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from daemon.errors import SettingsError
from daemon.protocol.messages import Prediction, file_source, to_json

CSV_FIELDS = ("path", "start_s", "end_s", "label", "score", "decision", "reason")
CSV_HEADER = ",".join(CSV_FIELDS).encode() + b"\n"


@dataclass(frozen=True)
class Result:
    """The result of one file: its predictions, or the reason for a failure."""

    path: bytes
    predictions: list[Prediction]
    error: str | None = None


def csv_rows(result: Result) -> str:
    """CSV lines of one file."""
    text = io.StringIO()
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for item in result.predictions:
        window, path = item.window, item.source.path or ""
        # Python before 3.13 leaves a carriage return unquoted, which no reader takes.
        writer = plain if "\r" not in path else quoted
        writer.writerow(
            [
                path,
                window.start_s,
                window.end_s,
                item.label,
                item.score,
                item.decision,
                item.reason or "",
            ]
        )
    return text.getvalue()


def jsonl_rows(result: Result) -> str:
    """JSON lines of one file."""
    spaced = (msgspec.json.format(to_json(item), indent=0) for item in result.predictions)
    return "".join(line.decode() + "\n" for line in spaced)


def table_rows(result: Result) -> str:
    """Lines of one file for people."""
    from daemon.monitoring.logging import printable

    lines = []
    for item in result.predictions:
        span = f"{item.window.start_s:g}-{item.window.end_s:g} s"
        verdict = item.reason or "accepted"
        name = printable(item.source.path or "")
        lines.append(f"{item.label:<18} {item.score:6.1%}  {verdict:<16} {span:<14} {name}\n")
    return "".join(lines)


ROWS = {"csv": csv_rows, "jsonl": jsonl_rows, "table": table_rows}


def finished_in(output: Path, kind: str, windows_of: Callable[[bytes], int]) -> set[str]:
    """Paths that are complete in the `output` of an earlier run; removes other lines.

    Each file's lines are written at once and in order, so only the last file can be cut short.
    `windows_of` returns the number of lines of a complete file.
    """
    data = output.read_bytes()
    rows = _whole_rows(data, kind)
    begin = CSV_HEADER if kind == "csv" else b'{"schema"'
    if not data.startswith(begin) and not begin.startswith(data):
        raise SettingsError(_FOREIGN)
    first = 1 if kind == "csv" else 0
    paths = [_path_of(row, kind) for row in rows[first:]]
    if paths:
        last = paths[-1]
        if paths.count(last) != windows_of(os.fsencode(last)):
            keep = paths.index(last)
            paths, rows = paths[:keep], rows[: first + keep]
    with output.open("r+b") as handle:
        handle.truncate(sum(map(len, rows)))
    return set(paths)


_FOREIGN = (
    "the output file holds something else than results of this command; name another, "
    "or use --overwrite"
)


def _whole_rows(data: bytes, kind: str) -> list[bytes]:
    """The rows of `data` that were written to their end. In CSV a quoted path may hold newlines."""
    rows, row = [], b""
    for line in io.BytesIO(data):
        row += line
        open_quote = kind == "csv" and row.count(b'"') % 2
        if line.endswith(b"\n") and not open_quote:
            rows.append(row)
            row = b""
    return rows


def _path_of(row: bytes, kind: str) -> str:
    try:
        text = row.decode("utf-8")
        if kind == "csv":
            return next(csv.reader(io.StringIO(text, newline="")))[0]
        return str(json.loads(text)["source"]["path"])
    except (ValueError, KeyError, TypeError, StopIteration, IndexError, csv.Error) as error:
        raise SettingsError(_FOREIGN) from error


def shown(path: bytes) -> str:
    """A path in the form that results show."""
    return file_source("", path).path or ""
