"""The folder of sounds of no kind: clips as FLAC in train/ and val/, and labels.csv."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import soundfile

from tinyast.data.atomic import replacing
from tinyast.data.extra.clips import RATE, Clip
from tinyast.errors import DataError

LABELS = "labels.csv"


@dataclass(frozen=True)
class Row:
    """One clip; `path` is relative to the folder, `seconds` has two decimals."""

    path: str
    group: str
    source: str
    licence: str
    split: str
    seconds: str


def save(clips: Iterable[Clip], folder: Path) -> list[Row]:
    """Write each clip under a name that its source and samples decide."""
    rows = []
    for split in ("train", "val"):
        (folder / split).mkdir(parents=True, exist_ok=True)
    for clip in clips:
        content = clip.source.encode() + clip.samples.tobytes()
        name = f"{clip.split}/{clip.group}-{hashlib.sha256(content).hexdigest()[:12]}.flac"
        soundfile.write(folder / name, clip.samples, RATE, subtype="PCM_16")
        seconds = f"{len(clip.samples) / RATE:.2f}"
        rows.append(Row(name, clip.group, clip.source, clip.licence, clip.split, seconds))
    return rows


def write_labels(rows: Iterable[Row], folder: Path) -> None:
    """Write labels.csv, sorted by path."""
    write_rows(sorted(set(rows), key=lambda row: row.path), folder / LABELS)


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Write a CSV in one step, so that a part of it is never read."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Row))
        writer.writerows(astuple(row) for row in rows)


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV that `write_rows` wrote.

    Raises:
        DataError: It has other columns.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [Row(**row) for row in csv.DictReader(file)]
    except TypeError as error:
        raise DataError(f"{path} is no list of sounds of no kind: {error}") from error


def paths_of(folder: Path, split: str) -> list[Path]:
    """The clips of a split, `train` or `val`, sorted.

    Raises:
        DataError: The folder has no labels.csv, or a clip that it lists is missing.
    """
    labels = folder / LABELS
    if not labels.exists():
        raise DataError(f"{labels} is missing: python -m scripts.download --extra makes it")
    paths = sorted(folder / row.path for row in read_rows(labels) if row.split == split)
    if missing := [path for path in paths if not path.is_file()]:
        raise DataError(f"{missing[0]} is missing: delete {labels} and run the download again")
    return paths
