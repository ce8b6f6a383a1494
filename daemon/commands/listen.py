"""`tinyastd listen`: print messages, and on a terminal the levels of microphones."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import TextIO

from msgspec.structs import replace

from daemon.client import Client, ClientKeys, NoAnswer, seq_before
from daemon.commands.listen_filter import ByFile, Wanted, read_moment
from daemon.commands.nearby import how_to_start
from daemon.commands.status import level as level_words
from daemon.errors import SettingsError
from daemon.host.clock import local
from daemon.monitoring.logging import counted, printable
from daemon.monitoring.signals import raise_on_ctrl_c
from daemon.protocol.messages import Event, FileEnd, Gap, Message, Prediction, Status
from daemon.protocol.states import MicrophoneState
from daemon.settings.schema import Settings

REDRAW_S = 0.5  # between checks for a heartbeat
METER = 20  # characters
FLOOR_DBFS = -60.0  # level of an empty meter
LAST_LABELS = 3
UNKNOWN = "unknown"  # a state that only the screen knows
UP, ERASE_BELOW = "\x1b[A", "\r\x1b[J"  # ECMA-48: CUU, ED


@dataclass(frozen=True)
class Beginning:
    """Where to begin: after a `seq`, or at a moment in seconds since 1970; with neither, now."""

    seq: int | None = None
    moment: float | None = None

    @classmethod
    def read(cls, since: int | None, since_time: str | None) -> Beginning:
        """From what `--since` and `--since-time` give. Raises SettingsError."""
        if since is not None and since_time is not None:
            raise SettingsError(
                "--since and --since-time both say where to begin; give one of them"
            )
        return cls(since, None if since_time is None else read_moment(since_time, time.time()))


def listen(
    settings: Settings,
    keys: ClientKeys | None,
    topic: str,
    beginning: Beginning,
    wanted: Wanted,
    json: bool,
    by_file: bool,
) -> None:
    """Print the daemon's messages until interrupted; waits for it if it does not answer."""
    waiting = f"no daemon answers at {settings.replay} yet; waiting for one ({how_to_start()})"
    since = beginning.seq
    if beginning.moment is not None:
        since = _first_seq(beginning.moment, settings.replay, keys, waiting)
    with Client(settings.publish, settings.replay, since, (topic,), keys=keys) as client:
        try:
            client.status()
        except NoAnswer:
            print(waiting, file=sys.stderr)
        follow(client, wanted, json, by_file)


def _first_seq(moment: float, replay: str, keys: ClientKeys | None, waiting: str) -> int:
    """The `seq` before the first message at `moment` or later.

    If no daemon answers, it says `waiting` once and keeps asking.
    """
    said = False
    while True:
        try:
            return seq_before(moment, replay, keys)
        except NoAnswer:
            if not said:
                print(waiting, file=sys.stderr)
            said = True


def follow(client: Client, wanted: Wanted, json: bool, by_file: bool) -> None:
    """Print a client's messages until interrupted: as JSON or lines, or on a terminal's screen."""
    lines = Lines(wanted, by_file)
    screen = Screen(sys.stdout, lines) if sys.stdout.isatty() and not json else None
    try:
        raise_on_ctrl_c()
        if screen is not None:
            screen.follow(client)
        for received in client:
            text = lines.of(received.content)
            if json:
                text = received.body.decode() if wanted.passes(received.content) else None
            if text is not None:
                print(text, flush=True)
    except (KeyboardInterrupt, BrokenPipeError):
        if screen is not None:
            screen.leave()
        sys.stderr.close()


def line(message: Message) -> str:
    """One message as one line for people, with the local time at which it was published."""
    return _timed(message, _words(message))


def _timed(message: Message, words: str) -> str:
    return f"{_local(str(message.published_at))}  {printable(words)}"


def _local(rfc3339: str) -> str:
    return local(datetime.fromisoformat(rfc3339).timestamp())


class Lines:
    """Turns the messages that are wanted into lines; with `by_file`, one for each file."""

    def __init__(self, wanted: Wanted, by_file: bool = False) -> None:
        self._wanted = wanted
        self._files = ByFile(wanted) if by_file else None

    def of(self, message: Message) -> str | None:
        """The line of a message; None if it is not shown."""
        if self._files is None:
            return line(message) if self._wanted.passes(message) else None
        heard = self._files.take(message)
        if heard is None:
            return None
        words = _words(message)
        return _timed(message, f"{words}  {heard}" if heard else words)


def _words(message: Message) -> str:
    source = message.source
    place = None if source is None else source.path or source.name
    match message:
        case Prediction():
            window = message.window
            span = f"{window.start_s:g}-{window.end_s:g} s"
            if message.source.kind == "mic":
                span = f"at {_local(window.started_at)[11:]}"
            return f"{message.label:<18} {message.score:6.1%}  {place}  {span}{_why(message)}"
        case FileEnd():
            why = f": {message.error.text}" if message.error else ""
            return f"{message.state:<18} {counted(message.windows, 'window')}  {place}{why}"
        case Status():
            return f"{message.status:<18} {message.text}"
        case Event():
            what, why = f"{message.label} {message.state}", _why(message)
            return f"{what:<18} {message.peak_score:6.1%}  {place}  {message.duration_s:g} s{why}"
        case Gap():
            lost = f"{message.duration_s:g} s of {place} were lost: {message.reason}"
            return f"{message.type:<18} {lost}"
        case _:
            return f"{message.type:<18} {place}"


def _why(message: Prediction | Event) -> str:
    if message.reason == "below_threshold" and isinstance(message, Prediction):
        return f"  (not sure enough: below {100 * message.threshold:g} %)"
    return "" if message.reason is None else f"  ({message.reason})"


class _Notices(logging.Handler):
    """Collects the client's log lines until the screen can show them."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[str] = deque()

    def emit(self, record: logging.LogRecord) -> None:
        self._waiting.append(f"{local(time.time())}  {printable(record.getMessage())}")

    def take(self) -> list[str]:
        return [self._waiting.popleft() for _ in range(len(self._waiting))]


class Screen:
    """A terminal: messages that scroll, above a line for each microphone that stays.

    The line has its level and its last labels. Rejected live windows appear only there. The
    client's log lines scroll too.
    """

    def __init__(self, out: TextIO, lines: Lines | None = None) -> None:
        self._out = out
        self._lines = lines or Lines(Wanted())
        self._notices = _Notices()
        self._microphones: dict[str, MicrophoneState] = {}  # by name, from heartbeats
        self._labels: dict[str, deque[str]] = {}
        self._drawn = 0  # lines

    def follow(self, client: Client) -> None:
        """Show a client's messages until interrupted."""
        logging.getLogger("daemon").addHandler(self._notices)
        shown = None
        while True:
            received = client.receive(REDRAW_S)
            lines = self._notices.take()
            if received is not None and self._note(received.content):
                new = self._lines.of(received.content)
                lines += [] if new is None else [new]
            if client.beat is not shown and client.beat is not None:
                shown = client.beat
                states = shown.content.sources
                self._microphones = {s.name: s for s in states if isinstance(s, MicrophoneState)}
            elif received is None and not lines:
                continue
            if client.silent:  # their last known state is outdated
                self._microphones = {n: _unknown(s) for n, s in self._microphones.items()}
            self._draw(lines)

    def _note(self, message: Message) -> bool:
        """Take in a message; return whether it gets a line."""
        if not isinstance(message, Prediction) or message.source.kind != "mic":
            return True
        name = message.source.name
        if name in self._microphones:
            level = replace(self._microphones[name], level_dbfs=message.rms_dbfs)
            self._microphones[name] = level
        if message.reason != "silence":
            labels = self._labels.setdefault(name, deque(maxlen=LAST_LABELS))
            labels.appendleft(f"{message.label} {message.score:.0%}")
        return message.decision == "accepted"

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
        """Leave the cursor below the output, for the shell."""
        logging.getLogger("daemon").removeHandler(self._notices)
        if self._drawn:
            self._out.write("\n")
            self._out.flush()


def _unknown(source: MicrophoneState) -> MicrophoneState:
    return replace(source, state=UNKNOWN, degraded="no sign of life from the daemon")


def meter(source: MicrophoneState, labels: deque[str] | tuple[str, ...]) -> str:
    """The line of one microphone, from its state in a heartbeat."""
    level = source.level_dbfs
    full = round(METER * min(1.0, max(0.0, 1 - level / FLOOR_DBFS)))
    bar = "#" * full + "-" * (METER - full)
    name = printable(source.name)
    if source.state in ("lost", UNKNOWN):
        why = printable(source.degraded or "")
        return f"{name} [{'-' * METER}] {source.state}: {why}"
    loud = "digital silence" if source.silent else level_words(level)
    return f"{name} [{bar}] {loud:<11} {', '.join(map(printable, labels))}"
