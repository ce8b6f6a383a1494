"""Log to standard error: plain lines on a terminal, JSON elsewhere, with a limit on repeats."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time

from msgspec import Struct

from daemon.host.clock import local
from daemon.settings.schema import Log

log = logging.getLogger(__name__)
BURST = 10  # records of one kind
PERIOD_S = 60.0  # for that many records


class _Kind(Struct):
    """Records with the same logger and format string."""

    since: float
    let_through: int = 0
    left_out: int = 0
    last: str = ""  # text of the last record left out


class RateLimitFilter(logging.Filter):
    """Passes at most `BURST` records of one kind per period, and reports how many it left out."""

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
        """A summary for each kind that left records out and has been quiet for a while."""
        now = time.monotonic()
        with self._lock:
            old = [k for k, kind in self._kinds.items() if now - kind.since >= self._period_s]
            ended = [self._kinds.pop(key) for key in old]
        return [f"{_more(kind.left_out)}, last: {kind.last}" for kind in ended if kind.left_out]


def _more(count: int) -> str:
    return f"{count} more like it were left out"


_repeats = RateLimitFilter()  # shared, even if logging is configured again


def counted(number: int, noun: str) -> str:
    """Such as `1 file` and `2 files`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Escape text so that it cannot start a line, move a cursor or break an encoder."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


class _Human(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        line = f"{local(record.created)} {level:<7} {printable(record.getMessage())}"
        if record.exc_info:
            # Indented and printable, so that an error's text cannot imitate a log line.
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
    """Send all logging to standard error, with the format and level of the settings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Human() if is_human(settings) else _Json())
    handler.addFilter(_repeats)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    logging.getLogger("watchdog").setLevel(
        logging.ERROR
    )  # the daemon handles the cause of its warnings


def tell_left_out() -> None:
    """Log the number of records left out, for kinds that have become quiet."""
    for words in _repeats.settled():
        log.warning("%s", words)
