"""Parquet: tables of predictions, and of embeddings. Needs pyarrow, from the extra `tables`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from daemon.errors import SettingsError, words_for
from tinyast.arrays import Float

if TYPE_CHECKING:
    import pyarrow

AT_ONCE = 1_000  # rows in memory


MAGIC = b"PAR1"  # begins each Parquet file


class CannotWrite(SettingsError):
    """A table cannot be written or read."""


@dataclass(frozen=True)
class Embedded:
    """A window with its embedding, (d,), and the model that it is by."""

    path: str
    start_s: float
    end_s: float
    model: str
    embedding: Float


def check_parquet() -> None:
    """Raise CannotWrite if pyarrow is missing."""
    if find_spec("pyarrow") is None:
        raise CannotWrite("Parquet needs pyarrow: pip install 'tinyast[tables]'")


def _schema(columns: Mapping[str, str]) -> pyarrow.Schema:
    import pyarrow

    types = {
        "text": pyarrow.string(),
        "number": pyarrow.float64(),
        "count": pyarrow.int64(),
        "vector": pyarrow.list_(pyarrow.float32()),
    }
    return pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])


class _Writer:
    """Writes rows to a Parquet file, some at a time. `close` ends the file."""

    columns: ClassVar[dict[str, str]]  # name and type; `vector` for a list of float32

    def __init__(self, path: Path) -> None:
        """Raises CannotWrite if `path` cannot be written, or pyarrow is missing."""
        check_parquet()
        import pyarrow.parquet

        self._fields = _schema(self.columns)
        try:
            with path.open("ab") as file, path.open("rb") as there:
                if file.tell() and there.read(4) != MAGIC:
                    raise CannotWrite(f"{path} is there and is no Parquet file; name another")
            self._writer = pyarrow.parquet.ParquetWriter(path, self._fields)
        except OSError as error:
            raise CannotWrite(f"cannot write {path}: {words_for(error, path)}") from error

    def _add(self, rows: Sequence[Mapping[str, object]]) -> None:
        import pyarrow

        if rows:
            self._writer.write_table(pyarrow.Table.from_pylist(rows, schema=self._fields))

    def close(self) -> None:
        """End the file."""
        self._writer.close()


class TableWriter(_Writer):
    """Predictions by column; a column that a row lacks is empty."""

    columns: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("path", "label", "decision", "reason", "started_at", "clock"), "text"),
        **dict.fromkeys(("label_2", "label_3", "model", "error"), "text"),
        **dict.fromkeys(("start_s", "end_s", "score", "rms_dbfs", "score_2", "score_3"), "number"),
    }

    def write(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Add rows, as names and values of columns."""
        self._add(rows)


class EmbeddingWriter(_Writer):
    """Embeddings."""

    columns: ClassVar[dict[str, str]] = {
        "path": "text",
        "start_s": "number",
        "end_s": "number",
        "model": "text",
        "embedding": "vector",
    }

    def write(self, rows: Iterable[Embedded]) -> None:
        """Add rows."""
        self._add([vars(row) for row in rows])


PART: dict[str, str] = {  # columns of a part of a large table
    **TableWriter.columns,
    **dict.fromkeys(("label_4", "label_5", "error_code"), "text"),
    **dict.fromkeys(("score_4", "score_5"), "number"),
    "bytes": "count",
}
_NOTE = b"tinyast"


def part(rows: Sequence[Mapping[str, object]], note: bytes, embeddings: bool) -> bytes:
    """A Parquet file with the columns `PART`, and `embedding` if asked for; it carries `note`."""
    import pyarrow
    import pyarrow.parquet

    columns = PART | ({"embedding": "vector"} if embeddings else {})
    table = pyarrow.Table.from_pylist(rows, schema=_schema(columns))
    out = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table.replace_schema_metadata({_NOTE: note}), out)
    return bytes(out.getvalue())


def read_note(file: pyarrow.NativeFile) -> bytes:
    """The note of a file by `part`. Raises CannotWrite for another file."""
    import pyarrow
    import pyarrow.parquet

    try:
        metadata = pyarrow.parquet.read_metadata(file).metadata or {}
    except pyarrow.ArrowException as error:
        raise CannotWrite(f"a part cannot be read as Parquet: {error}") from error
    if _NOTE not in metadata:
        raise CannotWrite("a part was not written by this command")
    return bytes(metadata[_NOTE])


def read_embeddings(path: Path) -> Iterator[Embedded]:
    """The rows of a table that `EmbeddingWriter` wrote. Raises CannotWrite if it is none."""
    check_parquet()
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            if missing := set(EmbeddingWriter.columns) - set(file.schema_arrow.names):
                raise CannotWrite(
                    f"{path} has no column {min(missing)}: name a table that "
                    "`tinyastd classify --embeddings` wrote"
                )
            for batch in file.iter_batches(AT_ONCE, columns=list(EmbeddingWriter.columns)):
                yield from _rows(batch)
    except (OSError, pyarrow.ArrowException) as error:
        raise CannotWrite(
            f"{path} cannot be read as Parquet; name a table that `tinyastd classify --embeddings` "
            f"wrote ({error})"
        ) from error


def _rows(batch: pyarrow.RecordBatch) -> Iterator[Embedded]:
    for row in batch.to_pylist():
        if row["embedding"] is None:  # the row of a file that failed
            continue
        embedding = np.array(row["embedding"], np.float32)
        yield Embedded(row["path"], row["start_s"], row["end_s"], row["model"], embedding)
