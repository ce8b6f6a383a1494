"""The weights that training starts from: EfficientAT's mn04, trained on AudioSet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tinyast.data.download import ChecksumError, Progress, check_sum, fetch
from tinyast.errors import DataError

PRETRAINED = "mn04_as_mAP_432.pt"
PRETRAINED_URL = f"https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1/{PRETRAINED}"
PRETRAINED_SHA256 = "899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c"


def fetch_pretrained(
    folder: Path,
    url: str = PRETRAINED_URL,
    progress: Progress | None = None,
    trouble: Callable[[str], None] | None = None,
    attempts: int = 5,
    pause_s: float = 1.0,
) -> bool:
    """Download the weights (4 MB, MIT licence) into `folder`; False if they are there already.

    Raises DataError if a file of that name has another content, if the server sends another file,
    which is deleted, or if it cannot be reached: the text then says how to get the file by hand.
    """
    target = folder / PRETRAINED
    if target.exists():
        try:
            check_sum(target, PRETRAINED_SHA256)
        except ChecksumError as error:
            raise ChecksumError(f"{target}: {error}. Delete it to download it again") from error
        return False
    try:
        fetch(url, target, PRETRAINED_SHA256, attempts, pause_s, progress, trouble)
    except ChecksumError as error:
        raise ChecksumError(f"{error}: try the default URL, {PRETRAINED_URL}") from error
    except DataError as error:
        raise DataError(
            f"{error} (by hand: download {PRETRAINED_URL} on a machine that is online, and copy it"
            f" to {target.resolve()})"
        ) from error
    return True
