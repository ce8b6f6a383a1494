"""What is logged too often is left out and counted: no fault that repeats fills the disk."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

BURST = 10  # records of one kind
PERIOD_S = 60.0  # in which no more than that are let through


@dataclass
class _Kind:
    """Records of one origin and wording, whatever they fill in."""

    since: float
    let_through: int = 0
    left_out: int = 0
    last: str = ""  # that was left out


class Repeats(logging.Filter):
    """Lets so many records of one kind through in a while, and says how many it did not."""

    def __init__(self, burst: int = BURST, period_s: float = PERIOD_S) -> None:
        super().__init__()
        self._burst, self._period_s = burst, period_s
        self._kinds: dict[tuple[str, int, str], _Kind] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        key = (record.name, record.levelno, str(record.msg))
        with self._lock:
            kind = self._kinds.get(key)
            if kind is None or now - kind.since >= self._period_s:
                left_out = kind.left_out if kind is not None else 0
                kind = self._kinds[key] = _Kind(now)
                if left_out:
                    text = f"{record.getMessage()} ({_more(left_out)} before)"
                    record.msg, record.args = text, None
            if kind.let_through < self._burst:
                kind.let_through += 1
                return True
            kind.left_out += 1
            kind.last = record.getMessage()
            return False

    def settled(self) -> list[str]:
        """Words for each kind of which records were left out and none came for a while."""
        now = time.monotonic()
        with self._lock:
            old = [k for k, kind in self._kinds.items() if now - kind.since >= self._period_s]
            ended = [self._kinds.pop(key) for key in old]
        return [f"{_more(kind.left_out)}, last: {kind.last}" for kind in ended if kind.left_out]


def _more(count: int) -> str:
    return f"{count} more like it were left out"
