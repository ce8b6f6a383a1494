"""Sounds of no kind, to train with: a folder as `scripts.download --extra` makes it."""

from __future__ import annotations

from pathlib import Path

from tinyast.data.extra.folder import LABELS, read_rows
from tinyast.errors import DataError


def none_clips(folder: Path, split: str = "train") -> list[Path]:
    """Paths of the clips of one split. Raises DataError without any."""
    table = folder / LABELS
    if not table.is_file():
        raise DataError(
            f"{table} is missing: this recipe also hears sounds of no kind. Make them with "
            "`python -m scripts.download --extra`, name their folder with --none, or train "
            "without them: --none-clips 0"
        )
    paths = [folder / row.path for row in read_rows(table) if row.split == split]
    if not paths:
        raise DataError(f"{table} lists no sounds of split {split!r}")
    return paths
