"""Store live windows as FLAC files in the state directory, limited in size and age."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import numpy as np

from daemon.host.clock import SteadyClock
from daemon.settings.schema import Live
from tinyast.arrays import Float

log = logging.getLogger(__name__)

FOLDER = "audio"
SLACK = (
    0.95  # evict down to this fraction of the limit, so that eviction does not run on every save
)
AGE_CHECK_S = 600.0  # between checks for files that are too old
FULL_SCALE = 1 << 23  # of 24 bits


class ClipStore:
    """The saved audio of one microphone or stream. For one thread at a time."""

    def __init__(self, state: Path, settings: Live) -> None:
        self.folder = state / FOLDER / _safe(settings.name)
        self._settings = settings
        self._clock = SteadyClock()
        self._bytes: int | None = None  # in all kept files; None until counted
        self._next_age_check = 0.0  # time.monotonic()

    def wants(self, accepted: bool) -> bool:
        return self._settings.keep == "all" or (self._settings.keep == "accepted" and accepted)

    def save(self, samples: Float, rate: int, started: float, label: str) -> str | None:
        """Write one window; return its path, or None if the disk refuses it."""
        clock = time.strftime("%Y%m%d_%H%M%S", time.gmtime(started))
        name = f"{clock}_{int(started % 1 * 1000):03d}_{_safe(label)}.flac"
        path = self.folder / clock[:8] / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            size = _write(path, samples, rate)
        except OSError as error:
            log.error("cannot keep audio at %s: %s", path, error)
            return None
        self._make_room(size)
        return str(path)

    def discard(self, path: str) -> None:
        """Delete a saved window."""
        size = _size(Path(path))
        try:
            Path(path).unlink(missing_ok=True)
        except OSError as error:
            log.error("cannot delete %s, which holds a voice: %s", path, error)
            return
        if self._bytes is not None:
            self._bytes -= size

    def _make_room(self, added: int) -> None:
        """Delete files that are too old, and the oldest ones beyond the size limit."""
        if self._bytes is None:
            self._bytes = sum(_size(path) for path in self._files())
        else:
            self._bytes += added
        limit = self._settings.keep_mb * 1e6
        goal = SLACK * limit if self._bytes > limit else limit
        if self._bytes <= limit and time.monotonic() < self._next_age_check:
            return
        self._next_age_check = time.monotonic() + AGE_CHECK_S
        oldest = self._clock.now() - self._settings.keep_days * 86_400
        for path in self._files():
            try:
                found = path.stat()
                if self._bytes <= goal and found.st_mtime >= oldest:
                    return
                path.unlink()
            except FileNotFoundError:  # someone else deleted it
                continue
            except OSError as error:
                log.error("cannot delete kept audio: %s", error)
                return
            self._bytes -= found.st_size
            with suppress(OSError):  # the folder is not empty
                path.parent.rmdir()

    def _files(self) -> Iterator[Path]:
        """Kept files, oldest first: their names begin with their time. A day is read at a time."""
        for day in _names(self.folder):
            for name in _names(self.folder / day):
                yield self.folder / day / name


def _write(path: Path, samples: Float, rate: int) -> int:
    """Write a FLAC file that is whole or not there; its size in bytes. Raises OSError."""
    import soundfile  # only if audio is saved

    # 24 bits hold 16-bit sound exactly, and float sound to -144 dBFS. libsndfile's own conversion
    # from float is by 2^23 - 1, and would not be exact.
    whole = np.clip(np.rint(np.float64(samples) * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
    unfinished = path.with_name(path.name + ".part")
    try:
        soundfile.write(
            unfinished, whole.astype(np.int32) << 8, rate, subtype="PCM_24", format="FLAC"
        )
        size = unfinished.stat().st_size
        unfinished.rename(path)
    except soundfile.LibsndfileError as error:
        raise OSError(str(error)) from error
    return size


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _safe(name: str) -> str:
    """A name that is one part of a path, and not `.` or `..`."""
    return quote(name, safe=" ").replace(".", "%2E")
