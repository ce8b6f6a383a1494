"""What the daemon writes on standard error: for people on a terminal, JSON lines otherwise."""

from __future__ import annotations

import json
import logging
import sys
import time

from daemon.monitoring.repeats import Repeats
from daemon.settings.schema import Log

log = logging.getLogger(__name__)
_repeats = Repeats()  # one, however often logging is configured


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
