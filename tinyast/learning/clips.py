"""The clips to learn from: a folder with one sub-folder for each kind, or a CSV."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyast.errors import DataError

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac")
TABLES = ("metadata.csv", "labels.csv")
COLUMNS = {  # the names that each column may have
    "filename": ("filename", "file", "path"),
    "label": ("label", "category"),
    "recording": ("recording", "fold"),
    "start_s": ("start_s",),
    "end_s": ("end_s",),
}
FEWEST = 2  # clips of a kind: one to learn from, and one to judge by


@dataclass(frozen=True)
class Clip:
    """Sound of one kind: a file, or a part of it in seconds."""

    path: Path
    label: str
    recording: str  # clips of one recording sound alike, so none of them judges the others
    start_s: float = 0.0
    end_s: float | None = None  # None: to the end


def read_clips(given: Path) -> list[Clip]:
    """The clips in a folder, or in a CSV, in order.

    A folder has a `metadata.csv` (or `labels.csv`), or one sub-folder for each kind. Raises
    DataError if it has neither, a row makes no sense, a file is missing, or a kind has one clip.
    """
    table = (
        given if given.is_file() else next((p for n in TABLES if (p := given / n).is_file()), None)
    )
    clips = _in_folders(given) if table is None else _in_table(table)
    counts = Counter(clip.label for clip in clips)
    for kind, count in counts.items():
        if count < FEWEST:
            raise DataError(f"{given} has a single clip of {kind!r}; each kind needs 5 to 30")
    return clips


def check_read(clips: Sequence[Clip], read: Collection[int]) -> None:
    """Raise DataError if too few clips of a kind could be read; `read` has the numbers of those."""
    counts = Counter(clips[number].label for number in read)
    for kind, count in Counter(clip.label for clip in clips).items():
        if counts[kind] < FEWEST:
            raise DataError(
                f"{counts[kind]} of {count} clips of {kind!r} can be read; a kind needs 5 to 30: "
                "add others, or remove the kind"
            )


def _in_folders(folder: Path) -> list[Clip]:
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder}; name one with a sub-folder of clips for each kind"
        )
    clips = []
    for kind in sorted(path for path in folder.iterdir() if path.is_dir() and not _hidden(path)):
        files = sorted(path for path in kind.rglob("*") if _is_clip(path, kind))
        if files and not kind.name.strip():
            raise DataError(f"{kind} has no name that could be a label; rename the folder")
        clips += [Clip(path, kind.name.strip(), str(path)) for path in files]
    if not clips:
        raise DataError(
            f"{folder} has no clips in sub-folders, and no {TABLES[0]}; make a sub-folder for each "
            f"kind, such as {folder / 'kettle'}, and put its clips ({', '.join(SUFFIXES)}) there"
        )
    return clips


def _is_clip(path: Path, kind: Path) -> bool:
    if path.suffix.lower() not in SUFFIXES:
        return False
    return not any(part.startswith(".") for part in path.relative_to(kind).parts) and path.is_file()


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _in_table(table: Path) -> list[Clip]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            file.seek(0)
            between = max(",;\t", key=head.count)  # spreadsheets write `;` where a comma is decimal
            reader = csv.DictReader(file, delimiter=between, skipinitialspace=True)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            rows = list(reader)
            names = _columns(table, list(reader.fieldnames) if rows else [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{table} is not a CSV in UTF-8 ({error}); name a folder with a sub-folder of clips "
            "for each kind, or a CSV with the columns filename and label"
        ) from error
    except OSError as error:
        raise DataError(f"{table} cannot be read: {error.strerror}") from error
    base = table.parent / "audio" if (table.parent / "audio").is_dir() else table.parent
    return [_clip(table, base, number, row, names) for number, row in enumerate(rows, start=2)]


def _columns(table: Path, given: list[str]) -> dict[str, str]:
    """The table's names of the columns that it has."""
    if not given:
        raise DataError(f"{table} lists no clips; it needs a row with filename and label for each")
    found = {
        column: name for column, known in COLUMNS.items() for name in known[::-1] if name in given
    }
    if missing := {"filename", "label"} - set(found):
        raise DataError(
            f"{table} needs the columns filename and label, and has {', '.join(given)}: add "
            f"{' and '.join(sorted(missing))}"
        )
    return found


def _clip(table: Path, base: Path, number: int, row: dict[str, str], names: dict[str, str]) -> Clip:
    values = {column: (row.get(name) or "").strip() for column, name in names.items()}
    name, label = values["filename"], values["label"]
    if not name or not label:
        raise DataError(f"{table}, line {number}: the {'label' if name else 'filename'} is empty")
    path = base / name
    if path.name and not path.is_file():
        # The ESC-50 archive's table says .wav of clips that may be kept as .flac.
        others = [path.with_suffix(suffix) for suffix in SUFFIXES]
        path = next((other for other in others if other.is_file()), path)
    if not path.is_file():
        raise DataError(f"{table}, line {number}: there is no file {path}; correct the filename")
    start, end = (_seconds(table, number, values.get(name, "")) for name in ("start_s", "end_s"))
    start = 0.0 if start is None else start
    if end is not None and end <= start:
        raise DataError(f"{table}, line {number}: end_s is {end:g}, which is not after {start:g}")
    return Clip(path, label, values.get("recording") or str(path), start, end)


def _seconds(table: Path, number: int, value: str) -> float | None:
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise DataError(f"{table}, line {number}: {value!r} is not a time in seconds")
    return seconds
