"""Write clips as log-mel pictures, to look at or for other programs.

Training computes more than these (see `tinyast.data.spectrograms`) and does not need them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from tinyast.data.atomic import replacing
from tinyast.data.datasets import Dataset
from tinyast.data.parallel import shared_out
from tinyast.data.spectrograms import load_clip
from tinyast.errors import DataError
from tinyast.features.log_mel import FeatureSettings, log_mel

TABLE, SETTINGS = "metadata.csv", "preprocessor_config.json"
COLUMNS = ("filename", "label", "target", "fold", "source", "bytes", "mtime_ns")
Row = dict[str, str | int]


@dataclass(frozen=True)
class Made:
    """The result of `preprocess`, in numbers of pictures."""

    written: int
    kept: int  # of unchanged clips
    removed: int  # of clips that are gone from the data set


def preprocess(
    dataset: Dataset,
    settings: FeatureSettings,
    output: Path,
    workers: int = 2,
    progress: Callable[[int], None] | None = None,
) -> Made:
    """Write `output/NAME.npy`, (n_mels, n_frames) float32, of each clip, and metadata.csv.

    Skips clips that are done and unchanged, and removes pictures of clips that are not in
    `dataset`. After an interruption the table lists the finished clips. Raises DataError for an
    unreadable clip, a full disk, or a folder with other content.
    """
    _claim(output, settings)
    rows = [_row(dataset, index) for index in range(len(dataset))]
    before = _done(output)
    finished = {
        index
        for index, row in enumerate(rows)
        if before.get(str(row["filename"])) == (row["bytes"], row["mtime_ns"])
        and (output / str(row["filename"])).exists()
    }
    kept = len(finished)
    todo = [index for index in range(len(rows)) if index not in finished]
    removed = _remove(output, set(before) - {str(row["filename"]) for row in rows})
    work = partial(_write_picture, settings=settings, output=output)
    try:
        with shared_out(workers) as share:
            pictures = share(work, (dataset.paths[index] for index in todo))
            for index, _ in zip(todo, pictures, strict=True):
                finished.add(index)
                if progress:
                    progress(len(finished))
    finally:
        _write_table(output / TABLE, [rows[index] for index in sorted(finished)])
    return Made(len(todo), kept, removed)


def _row(dataset: Dataset, index: int) -> Row:
    path, target = dataset.paths[index], int(dataset.targets[index])
    status = path.stat()
    values = (
        f"{path.stem}.npy",
        dataset.labels[target],
        target,
        int(dataset.folds[index]),
        path.name,
        status.st_size,
        status.st_mtime_ns,
    )
    return dict(zip(COLUMNS, values, strict=True))


def _done(output: Path) -> dict[str, tuple[int, int]]:
    """Size and time of the clips that the table lists as done."""
    if not (output / TABLE).exists():
        return {}
    try:
        table = pd.read_csv(output / TABLE, dtype={"filename": str}, keep_default_na=False)
        stamps = zip(table["bytes"].astype(int), table["mtime_ns"].astype(int), strict=True)
        return dict(zip(table["filename"], stamps, strict=True))
    except (ValueError, KeyError):  # not written by us: everything is done again
        return {}


def _remove(output: Path, names: set[str]) -> int:
    """Delete pictures that were written here for clips that are gone."""
    stale = [output / name for name in names if Path(name).name == name and name.endswith(".npy")]
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)


def _write_picture(path: Path, settings: FeatureSettings, output: Path) -> None:
    picture = log_mel(load_clip(path, settings), settings)
    target = output / f"{path.stem}.npy"
    with replacing(target) as part, part.open("wb") as handle:
        np.save(handle, picture)


def _write_table(path: Path, rows: list[Row]) -> None:
    text = pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(index=False, lineterminator="\n")
    _write_text(path, text)


def _claim(output: Path, settings: FeatureSettings) -> None:
    """Make the folder, or check that its content was written here with these settings."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the folder {output}: {error.strerror}") from error
    path = output / SETTINGS
    if not path.exists():
        if (output / TABLE).exists():
            raise DataError(
                f"{output} holds a {TABLE} that is not of pictures, and would be overwritten: "
                "choose another folder"
            )
        _write_text(path, json.dumps(settings.to_dict(), indent=2) + "\n")
    elif path.read_text(encoding="utf-8") != json.dumps(settings.to_dict(), indent=2) + "\n":
        raise DataError(f"{output} holds pictures of other settings; choose another folder")


def _write_text(path: Path, text: str) -> None:
    """Replace a file atomically: if the disk is full, the old content stays."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="")
