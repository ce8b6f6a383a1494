"""Data sets: a folder of clips and a CSV that labels them.

Two layouts are read: the one of the public ESC-50 archive (`meta/esc50.csv` and `audio/`), and any
folder with a CSV of `filename,label[,fold]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tinyast.data.layout import find_csv
from tinyast.errors import DataError

Numbers = NDArray[np.int64]  # indices of clips in the data set
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


@dataclass(frozen=True)
class Dataset:
    """Clips in a fixed order, with their labels."""

    paths: tuple[Path, ...]  # one audio file for each clip
    targets: NDArray[np.int64]  # (clips,) numbers into `labels`
    folds: NDArray[np.int64]  # (clips,) clips of one recording share a fold
    labels: tuple[str, ...]  # name of each class, by number

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, chosen: Numbers) -> Dataset:
        """The clips numbered `chosen`, in that order, with the same labels."""
        paths = tuple(self.paths[index] for index in chosen)
        return Dataset(paths, self.targets[chosen], self.folds[chosen], self.labels)


def read_dataset(root: Path) -> Dataset:
    """Read the CSV under `root` and find each clip that it names.

    Raises DataError if there is no CSV, it lacks a column, is empty, has a value that makes no
    sense, or names a clip that is missing or that it names twice.
    """
    csv = find_csv(root)
    table = read_table(csv)
    base = root / "audio" if (root / "audio").is_dir() else root
    paths = _find_clips(csv, base, table["filename"].tolist())
    labels, targets = _classes(csv, table)
    folds = _whole_numbers(csv, table, "fold") if "fold" in table else np.zeros_like(targets)
    return Dataset(paths, targets, folds, labels)


def read_table(csv: Path) -> pd.DataFrame:
    """The CSV as text, with `filename` and `label` filled in each row. Raises DataError."""
    try:
        # Read all values literally: pandas would treat a kind called "none" or "nan" as missing.
        table = pd.read_csv(csv, dtype=str, keep_default_na=False, skipinitialspace=True)
    except ValueError as error:  # pandas' own errors, and bytes that are not UTF-8
        raise DataError(f"{csv} cannot be read as CSV: {error}") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise DataError(f"{csv} has rows with more values than its first line has names")
    table = table.rename(columns=str.strip)
    if "label" not in table:
        table = table.rename(columns={"category": "label"})
    if not {"filename", "label"} <= set(table.columns):
        raise DataError(
            f"{csv} needs the columns filename and label (or category), separated by commas; "
            f"it has {', '.join(table.columns)}"
        )
    if table.empty:
        raise DataError(f"{csv} lists no clips")
    table = table.fillna("")
    table = table.assign(**{name: table[name].str.strip() for name in table.columns})
    for name in ("filename", "label"):
        empty = np.flatnonzero(table[name] == "")
        if len(empty):
            raise DataError(f"{csv}: clip {empty[0] + 1} of {len(table)} has no {name}")
    return table


def index_audio(folder: Path) -> dict[str, list[Path]]:
    """Clips by name without suffix: a CSV that says .wav is right about a .flac too."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            found.setdefault(path.stem, []).append(path)
    return found


def _find_clips(csv: Path, base: Path, names: list[str]) -> tuple[Path, ...]:
    """The file of each clip: the one at that path, or the only one of that name."""
    indexed: dict[str, list[Path]] | None = None
    paths, missing = [], []
    for name in names:
        path = base / name
        if not path.is_file():
            indexed = index_audio(base) if indexed is None else indexed
            there = indexed.get(Path(name).stem, [])
            if len(there) > 1:
                raise DataError(f"{csv} names {name}, which may be {there[0]} or {there[1]}")
            if not there:
                missing.append(name)
                continue
            path = there[0]
        paths.append(path)
    if missing:
        raise DataError(f"{csv} names {len(missing)} clips that are not there, first {missing[0]}")
    first: dict[str, Path] = {}
    for path in paths:
        # Pictures, predictions and random draws of a clip depend on its name.
        other = first.setdefault(path.stem, path)
        if other is not path:
            raise DataError(
                f"{csv} lists {path.stem} twice ({other} and {path}): rename one, or take it out"
            )
    return tuple(paths)


def _classes(csv: Path, table: pd.DataFrame) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names in the order of the CSV's own `target` numbers if it has them, else of the alphabet."""
    names = table["label"].tolist()
    if "target" in table:
        targets = _whole_numbers(csv, table, "target")
        pairs = sorted(set(zip(targets.tolist(), names, strict=True)))
        if [number for number, _ in pairs] == list(range(len(pairs))):
            return tuple(name for _, name in pairs), targets
    labels = tuple(sorted(set(names)))
    number_of = {name: number for number, name in enumerate(labels)}
    return labels, np.array([number_of[name] for name in names], np.int64)


def _whole_numbers(csv: Path, table: pd.DataFrame, column: str) -> NDArray[np.int64]:
    numbers = []
    for name, value in zip(table["filename"], table[column], strict=True):
        try:
            numbers.append(int(value))
        except ValueError:
            raise DataError(
                f"{csv}: {column} is a whole number, and {name} has {value!r}"
            ) from None
    return np.array(numbers, np.int64)
