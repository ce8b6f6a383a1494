"""Finished files that cannot be moved or deleted: report it once, and notice when it is over.

One file, such as an immutable one, may stay for good while others are moved. So another file's
success proves nothing; the file that was refused last is tried again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

RETRY_S = 5.0  # between tries of the refused file when others are moved or deleted


class Staying:
    """For the thread of one folder. `say` publishes why files stay."""

    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say, self._clock = say, clock
        self.reason: str | None = None  # why files stay, if any do
        self._refused: bytes | None = None  # the file refused last; None: all would be
        self._tried_at = 0.0
        self._others_go = False  # another was moved or deleted since
        self._in_this_scan = False  # whether any was refused since the scan began

    def refused(self, path: bytes | None, reason: str) -> None:
        """`path`, or any file if it is None, could not be moved or deleted."""
        if self.reason is None:
            self._say(reason)
        self.reason, self._refused, self._in_this_scan = reason, path, True
        self._tried_at = self._clock()

    def put_away(self, path: bytes) -> bool:
        """`path` was moved or deleted; whether to scan for the others."""
        if self.reason is None or self._refused is None:
            return False
        if path == self._refused:
            self._end()
            return True
        self._others_go = True
        return False

    def to_try(self) -> bytes | None:
        """The refused file, if others go and it was not tried a moment ago."""
        if not self._others_go or self._clock() < self._tried_at + RETRY_S:
            return None
        self._others_go, self._tried_at = False, self._clock()
        return self._refused

    def _end(self) -> None:
        self.reason = self._refused = None
        self._others_go = False

    def scan_begins(self, reason: str | None) -> None:
        """`reason`: why no file could be moved now."""
        self._in_this_scan = False
        if reason is not None:
            self.refused(None, reason)

    def scan_ended(self) -> None:
        """Every file has been tried."""
        if not self._in_this_scan:
            self._end()
