"""What a folder's watcher leaves for its scanner: paths to look at, and reasons to scan."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

MAX_HINTS = 4_096  # paths; beyond that a scan is cheaper


@dataclass(frozen=True)
class Hint:
    """One path to look at."""

    path: bytes
    closed: bool  # its writer was seen to close it
    at: float  # time.monotonic() of the newest event
    made: bool = False  # it has just been made, and no more is known: its writer still has it open


class Hints:
    """Bounded, filled from any thread, emptied by one."""

    def __init__(self) -> None:
        self._paths: dict[bytes, Hint] = {}
        self._scan: str | None = None
        self._changed = threading.Condition()

    def look(self, path: bytes, closed: bool = False, made: bool = False) -> None:
        """Ask for a look at one path; `made`: soon, if nothing more is heard of it."""
        with self._changed:
            before = self._paths.get(path)
            if before is None and len(self._paths) >= MAX_HINTS:
                self._scan = self._scan or "more changes than could be remembered"
            else:
                seen_closed = closed or (before is not None and before.closed)
                just_made = made and before is None
                self._paths[path] = Hint(path, seen_closed, time.monotonic(), just_made)
            self._changed.notify()

    def scan(self, reason: str) -> None:
        """Ask for a scan of the whole folder."""
        with self._changed:
            self._scan = reason
            self._changed.notify()

    def take(self) -> Hint | None:
        """The oldest path to look at."""
        with self._changed:
            if not self._paths:
                return None
            return self._paths.pop(next(iter(self._paths)))

    def take_scan(self) -> str | None:
        """Why a scan is asked for, if one is."""
        with self._changed:
            reason, self._scan = self._scan, None
            return reason

    def wake(self) -> None:
        """End a `wait` now."""
        with self._changed:
            self._changed.notify()

    def wait(self, timeout: float) -> None:
        """Return when there is something to take, or after `timeout` seconds."""
        with self._changed:
            if not self._paths and self._scan is None:
                self._changed.wait(timeout)

    def __len__(self) -> int:
        return len(self._paths)
