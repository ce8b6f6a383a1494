"""What becomes of a journal that another one takes the place of: it is put aside, never away."""

from __future__ import annotations

import os
import time
from pathlib import Path


def damage_mark(path: Path) -> Path:
    """The file that says that a journal was found damaged while it was written."""
    return path.with_name(path.name + ".damaged")


def put_aside(path: Path, why: str = "damaged") -> Path:
    """Rename a journal, with what belongs to it, to a name that says why and when; that name."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    target = path.with_name(f"{path.name}.{why}-{stamp}")
    number = 0
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.{why}-{stamp}-{number}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            os.rename(part, target.with_name(target.name + suffix))
    damage_mark(path).unlink(missing_ok=True)
    return target
