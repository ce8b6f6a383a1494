"""Predictions as files: CSV, JSON lines, Parquet, and tables for programs that annotate sound."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import islice
from tempfile import TemporaryFile
from typing import IO

import msgspec

from daemon.errors import DaemonError
from daemon.page.store.reader import Row
from daemon.tables.annotations import SUFFIXES, WRITERS, Names, Recording

COLUMNS = (
    "recorded_at", "node", "kind", "source", "path", "start_s", "length_s", "label", "score",
    "threshold", "decision", "reason", "level_dbfs", "clock", "model", "verdict", "corrected",
)  # fmt: skip
NUMBERS = ("start_s", "length_s", "score", "threshold", "level_dbfs")
TYPES = {
    "csv": "text/csv",
    "jsonl": "application/x-ndjson",
    "parquet": "application/octet-stream",
    "raven": "text/tab-separated-values",
    "audacity": "text/tab-separated-values",
    "kaleidoscope": "text/csv",
}
AT_ONCE = 1_000  # rows in memory


class CannotExport(DaemonError):
    """A format needs a library that is not installed."""


def record(row: Row) -> dict[str, str | float | None]:
    """A prediction by column."""
    stamp = datetime.fromtimestamp(row.at / 1000, UTC).isoformat(timespec="milliseconds")
    values = msgspec.structs.asdict(row)
    return {name: stamp if name == "recorded_at" else values[name] for name in COLUMNS}


def csv_lines(rows: Iterator[Row]) -> Iterator[bytes]:
    """A header and one line for each row. Text that a spreadsheet would run is quoted with '."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    yield text.getvalue().encode()
    while batch := list(islice(rows, AT_ONCE)):
        text.seek(0)
        text.truncate()
        for row in batch:
            table.writerow({name: _inert(value) for name, value in record(row).items()})
        yield text.getvalue().encode()


def _inert(value: str | float | None) -> str | float | None:
    """OWASP, "CSV Injection": a cell that begins with one of these is a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value


def json_lines(rows: Iterator[Row]) -> Iterator[bytes]:
    """One JSON object a line."""
    for row in rows:
        yield msgspec.json.encode(record(row)) + b"\n"


def check_parquet() -> None:
    """Raise CannotExport if pyarrow is missing."""
    if find_spec("pyarrow") is None:
        raise CannotExport("Parquet needs pyarrow: pip install 'tinyast[tables]'")


def parquet(rows: Iterator[Row]) -> Iterator[bytes]:
    """A Parquet file, in a temporary one first. Raises CannotExport without pyarrow."""
    check_parquet()
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    number, text = pyarrow.float64(), pyarrow.string()
    schema = pyarrow.schema([(name, number if name in NUMBERS else text) for name in COLUMNS])
    with TemporaryFile() as file:
        with ParquetWriter(file, schema) as writer:
            while batch := list(islice(rows, AT_ONCE)):
                table = pyarrow.Table.from_pylist([record(row) for row in batch], schema)
                writer.write_table(table)
        file.seek(0)
        while part := file.read(1 << 16):
            yield part


def annotated(kind: str, recordings: Iterator[Recording]) -> Iterator[bytes]:
    """One table of all recordings, as text. Names stand in it as they are, for the program."""
    lines = WRITERS[kind](recordings)
    while batch := list(islice(lines, AT_ONCE)):
        yield "".join(batch).encode()


def separate_annotations(file: IO[bytes], kind: str, recordings: Iterator[Recording]) -> None:
    """Write a zip with a table for each recording."""
    names = Names(kind, portable=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for recording in recordings:
            archive.writestr(names.of(recording), "".join(WRITERS[kind]([recording])))


def file_name(kind: str, separate: bool = False) -> str:
    """What the file of an export is called."""
    return f"tinyast-{kind}.zip" if separate else f"tinyast{SUFFIXES.get(kind, f'.{kind}')}"


FORMATS = {"csv": csv_lines, "jsonl": json_lines, "parquet": parquet}
