"""`tinyastd listen`: a daemon's messages, and on a terminal how loud its microphones are."""

from __future__ import annotations

import logging
import shutil
from collections import deque
from datetime import UTC, datetime
from typing import Any, TextIO

from daemon.client import Client
from daemon.monitoring.logging import printable

REDRAW_S = 0.5  # between looks for a heartbeat
METER = 20  # characters
FLOOR_DBFS = -60.0  # level at which a meter shows nothing
LAST_LABELS = 3
UNKNOWN = {"state": "unknown", "degraded": "nothing is heard of the daemon"}
UP, ERASE_BELOW = "\x1b[A", "\r\x1b[J"  # ECMA-48: CUU, ED


def line(message: dict[str, Any]) -> str:
    """One message as one line for people."""
    clock = message["published_at"][11:19]
    return f"{clock}  {printable(_words(message))}"


def _words(message: dict[str, Any]) -> str:
    kind = message["type"]
    place = (message.get("source") or {}).get("path") or (message.get("source") or {}).get("name")
    if kind == "prediction":
        window = message["window"]
        verdict = "" if message["reason"] is None else f"  ({message['reason']})"
        span = f"{window['start_s']:g}-{window['end_s']:g} s"
        if message["source"]["kind"] == "mic":
            span = f"at {window['started_at'][11:23]}"
        return f"{message['label']:<18} {message['score']:6.1%}  {place}  {span}{verdict}"
    if kind == "file":
        why = f": {message['error']['text']}" if message["error"] else ""
        return f"{message['state']:<18} {message['windows']} windows  {place}{why}"
    if kind == "status":
        return f"{message['status']:<18} {message['text']}"
    if kind == "event":
        what = f"{message['label']} {message['state']}"
        why = "" if message["reason"] is None else f"  ({message['reason']})"
        return f"{what:<18} {message['peak_score']:6.1%}  {place}  {message['duration_s']:g} s{why}"
    if kind == "gap":
        return f"{kind:<18} {message['duration_s']:g} s of {place} were lost: {message['reason']}"
    return f"{kind:<18} {place}"


class _Notices(logging.Handler):
    """What the client logs, until there is a place on the screen for it."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[str] = deque()

    def emit(self, record: logging.LogRecord) -> None:
        clock = datetime.now(UTC).strftime("%H:%M:%S")
        self._waiting.append(f"{clock}  {printable(record.getMessage())}")

    def take(self) -> list[str]:
        return [self._waiting.popleft() for _ in range(len(self._waiting))]


class Screen:
    """A terminal: messages that scroll, above a line for each microphone that stays.

    The line has its level and what was heard last. Live windows that are not accepted are seen
    only there. What the client has to say itself scrolls too.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._notices = _Notices()
        self._microphones: dict[str, dict[str, Any]] = {}  # by name, as heartbeats tell
        self._labels: dict[str, deque[str]] = {}
        self._drawn = 0  # lines

    def follow(self, client: Client) -> None:
        """Show what a client hears until it is interrupted."""
        logging.getLogger("daemon").addHandler(self._notices)
        shown = None
        while True:
            received = client.receive(REDRAW_S)
            lines = self._notices.take()
            if received is not None and self._note(received.message):
                lines.append(line(received.message))
            if client.heartbeat is not shown and client.heartbeat is not None:
                shown = client.heartbeat
                self._microphones = {s["name"]: s for s in shown["sources"] if s["kind"] == "mic"}
            elif received is None and not lines:
                continue
            if client.silent:  # what was known of them is old by now
                self._microphones = {n: s | UNKNOWN for n, s in self._microphones.items()}
            self._draw(lines)

    def _note(self, message: dict[str, Any]) -> bool:
        """Take in a message; whether it gets a line of its own."""
        if message["type"] != "prediction" or message["source"]["kind"] != "mic":
            return True
        name = message["source"]["name"]
        if name in self._microphones:
            self._microphones[name] |= {"level_dbfs": message["rms_dbfs"]}
        if message["reason"] != "silence":
            labels = self._labels.setdefault(name, deque(maxlen=LAST_LABELS))
            labels.appendleft(f"{message['label']} {message['score']:.0%}")
        return bool(message["decision"] == "accepted")

    def _draw(self, lines: list[str]) -> None:
        meters = [meter(s, self._labels.get(n, ())) for n, s in self._microphones.items()]
        width = shutil.get_terminal_size().columns
        text = UP * (self._drawn - 1) + ERASE_BELOW if self._drawn else ""
        text += "".join(f"{each}\n" for each in lines)
        text += "\n".join(each[: width - 1] for each in meters)
        self._drawn = len(meters)
        self._out.write(text)
        self._out.flush()

    def leave(self) -> None:
        """Leave the cursor where a shell goes on."""
        logging.getLogger("daemon").removeHandler(self._notices)
        if self._drawn:
            self._out.write("\n")
            self._out.flush()


def meter(source: dict[str, Any], labels: deque[str] | tuple[str, ...]) -> str:
    """The line of one microphone, from what a heartbeat says of it."""
    level = source["level_dbfs"]
    full = round(METER * min(1.0, max(0.0, 1 - level / FLOOR_DBFS)))
    bar = "#" * full + "-" * (METER - full)
    name = printable(source["name"])
    if source["state"] in ("lost", "unknown"):
        why = printable(source["degraded"] or "")
        return f"{name} [{'-' * METER}] {source['state']}: {why}"
    loud = "exact zeros" if source["silent"] else f"{level:.1f} dBFS"
    return f"{name} [{bar}] {loud:<11} {', '.join(map(printable, labels))}"
