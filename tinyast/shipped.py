"""Files of config/ that come with an installation."""

from __future__ import annotations

import sys
from pathlib import Path


def find_shipped(name: str) -> Path | None:
    """A file of config/, in the package or checkout; None if this installation lacks it."""
    here = Path(__file__).resolve().parents[1] / "config"
    for folder in (Path(sys.prefix) / "share" / "tinyast", here):
        if (folder / name).is_file():
            return folder / name
    return None
