"""`tinyastd classify`: files and folders classified once, here and now, without a daemon."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.errors import SettingsError
from daemon.journal.ledger import claim
from daemon.journal.records import Identity
from daemon.pipeline.prediction import Listening, Rules
from daemon.protocol.messages import SCHEMA, Source, now, path_fields, prediction, source_fields
from daemon.settings.schema import Folder
from daemon.sources.folder.readiness import opened
from daemon.sources.folder.scan import walk
from tinyast.audio.content import Content
from tinyast.classifier import Classifier
from tinyast.errors import AudioError

CSV_FIELDS = ("path", "start_s", "end_s", "label", "score", "decision", "reason")
CSV_HEADER = ",".join(CSV_FIELDS).encode() + b"\n"
SOURCE = "classify"


@dataclass(frozen=True)
class Result:
    """What became of one file: its predictions, or why there are none."""

    path: bytes
    predictions: list[dict[str, Any]]
    error: str | None = None


def find(paths: Sequence[Path], folder: Folder) -> list[bytes]:
    """The files named, and those in the folders named, in order. Raises SettingsError."""
    from collections import Counter

    found: list[bytes] = []
    for path in paths:
        whole = os.fsencode(os.path.abspath(path))
        if os.path.isdir(whole):
            found += sorted(walk(whole, folder, Counter()))
        elif os.path.exists(whole):
            found.append(whole)
        else:
            raise SettingsError(f"there is no file or folder {path}")
    return list(dict.fromkeys(found))


def classify_file(
    path: bytes, folder: Folder, classifier: Classifier, rules: Rules, node: str
) -> Result:
    """Classify every window of one file."""
    try:
        with opened(path) as fd:
            stat = os.fstat(fd)
            listening = Listening(Content(fd, stat.st_size), path, folder, classifier, rules)
            file_id = claim(path, SOURCE, Identity.of(stat), None).file_id
            source = Source("file", SOURCE, path)
            bodies = [listening.predict(window) for window in listening.plan]
    except AudioError as error:
        return Result(path, [], f"{error} ({error.code})")
    except OSError as error:
        return Result(path, [], error.strerror or str(error))
    return Result(path, [_object(source, file_id, i, b, node) for i, b in enumerate(bodies)])


def _object(
    source: Source, file_id: str, index: int, body: dict[str, Any], node: str
) -> dict[str, Any]:
    """A prediction as the daemon publishes it, less its place in a stream."""
    message = prediction(source, file_id, index, body, None)
    return {
        "schema": SCHEMA,
        "type": message.type,
        "node": node,
        "id": message.id,
        "published_at": now(),
        "source": source_fields(source),
        **message.body,
    }


def classify_all(
    paths: Iterable[bytes], one: Callable[[bytes], Result], workers: int
) -> Iterator[Result]:
    """Results in the order of `paths`, a few files ahead on `workers` threads."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for path in paths:
            waiting.append(pool.submit(one, path))
            if len(waiting) > 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


# -- output --------------------------------------------------------------------------------------


def csv_rows(result: Result) -> str:
    """CSV lines of one file."""
    text = io.StringIO()
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for item in result.predictions:
        window = item["window"]
        path = item["source"]["path"]
        # Python before 3.13 leaves a carriage return unquoted, which no reader takes.
        writer = plain if "\r" not in path else quoted
        writer.writerow(
            [
                path,
                window["start_s"],
                window["end_s"],
                item["label"],
                item["score"],
                item["decision"],
                item["reason"] or "",
            ]
        )
    return text.getvalue()


def jsonl_rows(result: Result) -> str:
    """JSON lines of one file."""
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in result.predictions)


def table_rows(result: Result) -> str:
    """Lines of one file for people."""
    from daemon.monitoring.logging import printable

    lines = []
    for item in result.predictions:
        window = item["window"]
        span = f"{window['start_s']:g}-{window['end_s']:g} s"
        verdict = item["reason"] or "accepted"
        name = printable(item["source"]["path"])
        lines.append(f"{item['label']:<18} {item['score']:6.1%}  {verdict:<16} {span:<14} {name}\n")
    return "".join(lines)


ROWS = {"csv": csv_rows, "jsonl": jsonl_rows, "table": table_rows}


def finished_in(output: Path, kind: str, windows_of: Callable[[bytes], int]) -> set[str]:
    """Paths that `output` of an earlier run holds whole; what it holds of others is cut off.

    Each file's lines are written at once and in order, so only the last file can be cut short.
    `windows_of` tells how many lines a whole file has.
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
    """A path as results show it."""
    return path_fields(path)["path"]
