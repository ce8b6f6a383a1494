"""Clips to log-mel pictures on disk, for looking at or for other programs.

Training computes more than these (see `tinyast.spectra`) and does not need them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from tinyast.datasets import Dataset
from tinyast.errors import DataError
from tinyast.features import FeatureSettings, log_mel
from tinyast.spectra import load_clip, shared_out

TABLE, SETTINGS = "metadata.csv", "preprocessor_config.json"
COLUMNS = ("filename", "label", "target", "fold", "source", "bytes", "mtime_ns")


def preprocess(
    dataset: Dataset,
    settings: FeatureSettings,
    output: Path,
    workers: int = 2,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write `output/NAME.npy`, (n_mels, n_frames) float32, of each clip, and metadata.csv.

    Clips done before, and not changed since, are left as they are; the table then lists exactly
    the clips of `dataset`. Gives how many were computed. Raises DataError for a clip that cannot
    be read, or a folder that holds pictures made with other settings.
    """
    output.mkdir(parents=True, exist_ok=True)
    _claim(output / SETTINGS, settings)
    rows = [_row(dataset, index) for index in range(len(dataset))]
    if len({row["filename"] for row in rows}) < len(rows):
        raise DataError("two clips have the same name: rename one")
    done = _done(output)
    todo = [
        index
        for index, row in enumerate(rows)
        if done.get(str(row["filename"])) != (row["bytes"], row["mtime_ns"])
        or not (output / str(row["filename"])).exists()
    ]
    # The old table would vouch for pictures about to be replaced.
    if todo:
        _write_table(output / TABLE, [row for i, row in enumerate(rows) if i not in set(todo)])
    work = partial(_write_picture, settings=settings, output=output)
    with shared_out(workers) as share:
        paths = (dataset.paths[index] for index in todo)
        for count, _ in enumerate(share(work, paths), start=1):
            if progress:
                progress(count + len(rows) - len(todo))
    _write_table(output / TABLE, rows)
    return len(todo)


def _row(dataset: Dataset, index: int) -> dict[str, str | int]:
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
    """Size and time of the clips that the table says were done."""
    if not (output / TABLE).exists():
        return {}
    try:
        table = pd.read_csv(output / TABLE)
        stamps = zip(table["bytes"].astype(int), table["mtime_ns"].astype(int), strict=True)
        return dict(zip(table["filename"], stamps, strict=True))
    except (pd.errors.EmptyDataError, pd.errors.ParserError, KeyError):
        return {}


def _write_picture(path: Path, settings: FeatureSettings, output: Path) -> None:
    target = output / f"{path.stem}.npy"
    part = target.with_suffix(f".{os.getpid()}.part")
    try:
        with part.open("wb") as handle:
            np.save(handle, log_mel(load_clip(path, settings), settings))
        os.replace(part, target)
    except OSError as error:
        raise DataError(f"cannot write {target}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _write_table(path: Path, rows: list[dict[str, str | int]]) -> None:
    part = path.with_suffix(".part")
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(part, index=False, lineterminator="\n")
    os.replace(part, path)


def _claim(path: Path, settings: FeatureSettings) -> None:
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != settings.to_dict():
        raise DataError(f"{path.parent} holds pictures of other settings; choose another folder")
    path.write_text(json.dumps(settings.to_dict(), indent=2) + "\n", encoding="utf-8")
