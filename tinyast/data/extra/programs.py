"""Programs that speak, play and unpack."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable

from tinyast.data.extra.clips import ExtraError


def check_programs(names: Iterable[str]) -> None:
    """Raise ExtraError, which says how to install them, if programs are missing."""
    missing = sorted({name for name in names if shutil.which(name) is None})
    if missing:
        raise ExtraError(
            f"{', '.join(missing)} not installed: sudo apt install {' '.join(missing)}, or leave"
            " groups out with --without"
        )


def run(*command: str, seconds: float = 120) -> str:
    """Run a command; returns its standard output.

    Raises:
        ExtraError: The program is missing, fails, or takes longer than `seconds`.
    """
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=True)
    except FileNotFoundError as error:
        raise ExtraError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ExtraError(f"{command[0]} took longer than {seconds:g} s") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()[-300:]
        raise ExtraError(f"{command[0]} failed ({error.returncode}): {said}") from error
    return done.stdout.decode(errors="replace")
