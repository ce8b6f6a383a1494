"""Logs on standard error: for people on a terminal, JSON lines otherwise; repeats are limited."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from dataclasses import dataclass

from daemon.settings.schema import Log

log = logging.getLogger(__name__)
BURST = 10  # records of one kind
PERIOD_S = 60.0  # in which no more than that are let through


@dataclass
class _Kind:
    """Records of one origin and wording, whatever they fill in."""

    since: float
    let_through: int = 0
    left_out: int = 0
    last: str = ""  # that was left out


class RateLimitFilter(logging.Filter):
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


_repeats = RateLimitFilter()  # one, however often logging is configured


def printable(text: str) -> str:
    """Text that cannot start a new line, move a cursor or break an encoder."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


class _Human(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock} {record.levelname.lower():<7} {printable(record.getMessage())}"
        if record.exc_info:
            # Indented and printable: what is in an error's text cannot pass for a line of its own.
            trace = self.formatException(record.exc_info).splitlines()
            line += "".join(f"\n    {printable(each)}" for each in trace)
        return line


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = {
            "time": f"{clock}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "text": printable(record.getMessage()),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def is_human(settings: Log) -> bool:
    if settings.format == "auto":
        return sys.stderr.isatty()
    return settings.format == "human"


def configure(settings: Log) -> None:
    """Send all logging to standard error in the format and from the level that are set."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Human() if is_human(settings) else _Json())
    handler.addFilter(_repeats)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    logging.getLogger("watchdog").setLevel(logging.ERROR)  # what it warns of is handled


def tell_left_out() -> None:
    """Log how many records were left out of kinds that have come to rest."""
    for words in _repeats.settled():
        log.warning("%s", words)
