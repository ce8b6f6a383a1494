"""Keeping what was heard: live windows as FLAC files beside the state, bounded by size and age."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from daemon.settings import Microphone
from tinyast.features import Float

log = logging.getLogger(__name__)

FOLDER = "audio"
SLACK = 0.95  # of the size that is left after making room, so that it is not made every time


class Store:
    """The kept audio of one microphone. For one thread at a time."""

    def __init__(self, state: Path, settings: Microphone) -> None:
        self.folder = state / FOLDER / settings.name
        self._settings = settings
        self._bytes: int | None = None  # in all kept files; None until counted

    def wants(self, accepted: bool) -> bool:
        return self._settings.keep == "all" or (self._settings.keep == "accepted" and accepted)

    def save(self, samples: Float, rate: int, started: float, label: str) -> str | None:
        """Write one window; its path, or None where the disk would not take it."""
        import soundfile  # only where audio is kept

        clock = time.strftime("%Y%m%d_%H%M%S", time.gmtime(started))
        name = f"{clock}_{round(started % 1 * 1000):03d}_{label}.flac"
        path = self.folder / clock[:8] / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # 24 bits hold 16-bit sound exactly, and float sound to -144 dBFS.
            soundfile.write(path, samples, rate, subtype="PCM_24", format="FLAC")
            self._make_room(path.stat().st_size)
        except (OSError, soundfile.LibsndfileError) as error:
            log.error("cannot keep audio at %s: %s", path, error)
            return None
        return str(path)

    def _make_room(self, added: int) -> None:
        limit = self._settings.keep_mb * 1e6
        if self._bytes is None:
            self._bytes = sum(path.stat().st_size for path in self._files())
        else:
            self._bytes += added
        oldest_allowed = time.time() - self._settings.keep_days * 86_400
        over = self._bytes > limit
        for path in self._files():
            too_many = over and self._bytes > SLACK * limit
            found = path.stat()
            if not too_many and found.st_mtime >= oldest_allowed:
                return
            path.unlink(missing_ok=True)
            self._bytes -= found.st_size
            if not any(path.parent.iterdir()):
                path.parent.rmdir()

    def _files(self) -> list[Path]:
        """Kept files, oldest first: their names begin with their time."""
        if not self.folder.is_dir():
            return []
        return [
            Path(directory, name)
            for directory in sorted(entry.path for entry in os.scandir(self.folder))
            for name in sorted(os.listdir(directory))
        ]
