"""Forget files that are gone: the ledger would otherwise grow with every file that ever came."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from daemon.errors import GONE
from daemon.host.clock import SteadyClock
from daemon.journal.reader import JournalReader, Written
from daemon.protocol.messages import end_id
from daemon.settings.schema import JournalLimits

EVERY_S = 1.0
ROWS = 500  # looked at in one step: some 5 ms
DAY_S = 86_400


class LedgerSweep:
    """Goes round and round through the ledger rows of one folder, a few at a time.

    A file that comes back after its row is gone is classified again, so rows stay for some time;
    while there are very many, they go at once. But a row stays as long as the end state of its file
    is kept: the file would otherwise come back under the same ids, and each message has its own.
    """

    def __init__(self, reader: JournalReader, root: bytes, limits: JournalLimits) -> None:
        prefix = root.rstrip(b"/") + b"/"
        self._reader, self._limits, self._clock = reader, limits, SteadyClock()
        self._begin, self._end = prefix, prefix[:-1] + b"0"  # 0 follows / in ASCII
        self._after = prefix
        self._rows = self._rows_before = 0  # of this round so far, and of the one before
        self._due = 0.0

    def step(self) -> list[Written]:
        """Rows to forget, after a look at a few files; for the folder's own thread."""
        if time.monotonic() < self._due:
            return []
        self._due = time.monotonic() + EVERY_S
        rows = self._reader.written(self._after, self._end, ROWS)
        self._rows += len(rows)
        forgotten = list(self._gone(rows))
        if rows:
            self._after = rows[-1].path
        if len(rows) < ROWS:
            self._after, self._rows_before, self._rows = self._begin, self._rows, 0
        return forgotten

    def _gone(self, rows: list[Written]) -> Iterator[Written]:
        many = max(self._rows, self._rows_before) > self._limits.ledger_rows
        keep_from = self._clock.now() - self._limits.ledger_days * DAY_S
        for row in rows:
            if many or row.since < keep_from:
                try:
                    os.lstat(row.path)
                except OSError as error:
                    if error.errno in GONE and not self._reader.has_message(end_id(row.file_id)):
                        yield row
