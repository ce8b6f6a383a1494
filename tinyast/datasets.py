"""Which clips there are: a folder of audio and a CSV that says what each one is.

Two layouts are read: the one of the public ESC-50 archive (`meta/esc50.csv` and `audio/`), and any
folder with a CSV of `filename,label[,fold]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tinyast.errors import DataError

Numbers = NDArray[np.int64]  # which clips, by their place in the data set
CSV_NAMES = ("meta/esc50.csv", "esc50.csv", "metadata.csv")


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

    Raises DataError if there is no CSV, it lacks a column, is empty, or names a missing clip.
    """
    csv = next((root / name for name in CSV_NAMES if (root / name).is_file()), None)
    if csv is None:
        raise DataError(f"no {', '.join(CSV_NAMES)} under {root}: is this the data set's folder?")
    table = read_table(csv)
    audio = index_audio(root / "audio" if (root / "audio").is_dir() else root)
    missing = [name for name in table["filename"] if Path(name).stem not in audio]
    if missing:
        raise DataError(f"{csv} names {len(missing)} clips that are not there, first {missing[0]}")
    labels, targets = _classes(table)
    paths = tuple(audio[Path(name).stem] for name in table["filename"])
    folds = table["fold"].to_numpy(np.int64) if "fold" in table else np.zeros(len(table), np.int64)
    return Dataset(paths, targets, folds, labels)


def split_by_fold(dataset: Dataset, hold_out: int | None) -> tuple[Numbers, Numbers]:
    """Numbers of the clips to train on and to test on; none to test on if `hold_out` is None."""
    held = dataset.folds == hold_out if hold_out is not None else np.zeros(len(dataset), bool)
    if hold_out is not None and not held.any():
        there = ", ".join(str(fold) for fold in sorted(set(dataset.folds.tolist())))
        raise DataError(f"no clip is in fold {hold_out}; the folds are {there}")
    if held.all():
        raise DataError(f"every clip is in fold {hold_out}: nothing is left to train on")
    return np.flatnonzero(~held), np.flatnonzero(held)


def leave_out_classes(dataset: Dataset, count: int, seed: int) -> tuple[Dataset, Numbers]:
    """The data set without `count` classes drawn by `seed`, and which of its clips that leaves."""
    if count > len(dataset.labels) - 2:
        raise DataError(f"of {len(dataset.labels)} kinds, {count} are too many to leave out")
    drawn = np.random.default_rng(seed).permutation(len(dataset.labels))[count:]
    kept = np.sort(drawn)  # numbers of the classes that stay, in their old order
    numbers = np.flatnonzero(np.isin(dataset.targets, kept))
    part = dataset.subset(numbers)
    labels = tuple(dataset.labels[number] for number in kept)
    return Dataset(part.paths, np.searchsorted(kept, part.targets), part.folds, labels), numbers


def split_few(dataset: Dataset, train: int, test: int, seed: int) -> tuple[Numbers, Numbers]:
    """Numbers of a few clips to train on and to test on, for trying things out.

    Clips to test are drawn from the last fold and clips to train from the others, so that no
    recording is on both sides.
    """
    last = dataset.folds.max()
    apart = dataset.folds.min() != last
    order = np.random.default_rng(seed).permutation(len(dataset))
    of_last = dataset.folds[order] == last
    testing = order[of_last][:test] if apart else order[:test]
    training = order[~of_last] if apart else order[test:]
    if len(testing) < test or not len(training):
        raise DataError(f"{len(dataset)} clips are too few to keep {test} for testing")
    return training[: train or None], testing


def read_table(csv: Path) -> pd.DataFrame:
    """The CSV, checked to have the columns that are needed, and a row. Raises DataError."""
    try:
        table = pd.read_csv(csv, dtype={"filename": str})
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise DataError(f"{csv} cannot be read as CSV: {error}") from error
    if "filename" not in table or not {"label", "category"} & set(table.columns):
        raise DataError(f"{csv} needs the columns filename and label (or category)")
    if table.empty:
        raise DataError(f"{csv} lists no clips")
    return table


def _classes(table: pd.DataFrame) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names in the order of the CSV's own `target` numbers if it has them, else of the alphabet."""
    names = table["category" if "category" in table else "label"].astype(str)
    if "target" in table:
        pairs = sorted(set(zip(table["target"].astype(int), names, strict=True)))
        if [number for number, _ in pairs] == list(range(len(pairs))):
            return tuple(name for _, name in pairs), table["target"].to_numpy(np.int64)
    labels = tuple(sorted(set(names)))
    number_of = {name: number for number, name in enumerate(labels)}
    return labels, np.array([number_of[name] for name in names], np.int64)


def index_audio(folder: Path) -> dict[str, Path]:
    """Clips by name without suffix: a CSV that says .wav is right about a .flac too."""
    suffixes = {".wav", ".flac", ".ogg", ".mp3"}
    return {
        path.stem: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in suffixes
    }
