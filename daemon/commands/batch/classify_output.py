"""The output of `tinyastd classify`: tables, CSV and JSON lines, written and read back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from daemon.errors import SettingsError
from daemon.protocol.messages import (
    Error,
    Message,
    Prediction,
    end_state,
    file_end,
    file_source,
    to_json,
)
from tinyast.arrays import Float

SOURCE = "classify"  # the source in messages

CSV_FIELDS = (
    "path", "start_s", "end_s", "label", "score", "decision", "reason",
    "started_at", "clock", "rms_dbfs", "label_2", "score_2", "label_3", "score_3", "model", "error",
)  # fmt: skip
FAILED = "failed"  # the decision in the row of a file that cannot be read to its end
CSV_HEADER = ",".join(CSV_FIELDS).encode() + b"\n"


@dataclass(frozen=True)
class Result:
    """The result of one file: its predictions, or the reason for a failure."""

    path: bytes
    predictions: list[Prediction]
    error: Error | None = None
    file_id: str = ""
    embeddings: tuple[Float, ...] = ()  # (d,) of each prediction's window, if asked for


def csv_rows(result: Result) -> str:
    """CSV lines of one file."""
    text = io.StringIO()
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for item in result.predictions:
        window, path = item.window, item.source.path or ""
        # Python before 3.13 leaves a carriage return unquoted, which no reader takes.
        writer = plain if "\r" not in path else quoted
        others = [cell for each in item.top[1:3] for cell in (each.label, each.score)]
        writer.writerow(
            [
                path, window.start_s, window.end_s, item.label, item.score, item.decision,
                item.reason or "", window.started_at, window.clock, item.rms_dbfs,
                *[*others, "", "", "", ""][:4], f"{item.model.name} {item.model.version}", "",
            ]
        )  # fmt: skip
    if result.error is not None:
        path = shown(result.path)
        empty = [""] * (len(CSV_FIELDS) - 8)
        cells = [path, "", "", "", "", FAILED, result.error.code, *empty, result.error.text]
        (plain if "\r" not in path else quoted).writerow(cells)
    return text.getvalue()


def jsonl_rows(result: Result) -> str:
    """JSON lines of one file: its predictions, and a file message unless all of it was read."""
    messages: list[Message] = [*result.predictions]
    if result.error is not None:
        source = file_source(SOURCE, result.path)
        state, windows = end_state(result.error), len(result.predictions)
        messages.append(file_end(source, result.file_id, state, windows, result.error))
    spaced = (msgspec.json.format(to_json(item), indent=0) for item in messages)
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


def finished_in(output: Path, kind: str, windows_of: Callable[[str], int]) -> set[str]:
    """Paths that are complete in the `output` of an earlier run; removes other lines.

    Each file's lines are written at once and in order, so only the last file can be cut short.
    `windows_of` returns the number of lines of a complete file, whose path is as results show it.
    """
    data = output.read_bytes()
    rows = _whole_rows(data, kind)
    begin = CSV_HEADER if kind == "csv" else b'{"schema"'
    if not data.startswith(begin) and not begin.startswith(data):
        raise SettingsError(f"{output} {_FOREIGN}")
    first = 1 if kind == "csv" else 0
    paths = [_path_of(row, kind) for row in rows[first:]]
    if paths:
        last = paths[-1]
        if not _ends_with_error(rows[-1], kind) and paths.count(last) != windows_of(last):
            keep = paths.index(last)
            paths, rows = paths[:keep], rows[: first + keep]
    with output.open("r+b") as handle:
        handle.truncate(sum(map(len, rows)))
    return set(paths)


_FOREIGN = "holds something other than results of this command; name another, or use --overwrite"


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
        raise SettingsError(f"the output file {_FOREIGN}") from error


def _ends_with_error(row: bytes, kind: str) -> bool:
    """Whether the row is the last one of a file that failed."""
    if kind == "csv":
        cells = next(csv.reader(io.StringIO(row.decode("utf-8"), newline="")))
        return len(cells) == len(CSV_FIELDS) and cells[5] == FAILED
    return bool(json.loads(row).get("type") == "file")


def shown(path: bytes) -> str:
    """A path in the form that results show."""
    return file_source("", path).path or ""
