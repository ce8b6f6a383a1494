"""Names of the files in folders of sounds and of runs: found without loading any library."""

from __future__ import annotations

from pathlib import Path

from tinyast.errors import DataError

CSV_NAMES = ("meta/esc50.csv", "esc50.csv", "metadata.csv")


def find_csv(root: Path) -> Path:
    """The CSV of the data set in `root`. Raises DataError without one."""
    for name in CSV_NAMES:
        if (root / name).is_file():
            return root / name
    if not root.is_dir():
        raise DataError(f"there is no folder {root}")
    raise DataError(f"no {', '.join(CSV_NAMES)} in {root}: is this the data set's folder?")


def find_predictions(run: Path) -> Path:
    """The predictions that a finished run made for its held-out clips. Raises DataError."""
    path = run / "predictions.csv"
    if not path.is_file():
        raise DataError(
            f"{run} is not a finished run: "
            + ("it has no predictions.csv" if run.is_dir() else "there is no such folder")
        )
    return path


def find_labels(folder: Path) -> Path:
    """The labels.csv of a folder of other clips. Raises DataError without one."""
    path = folder / "labels.csv"
    if not path.is_file():
        raise DataError(f"{path} is missing: --wild needs its columns file and label")
    return path
