"""Receive every message of a daemon, each once.

    from daemon.client import Client

    with Client(since=0) as client:
        for received in client:
            print(received.message["seq"], received.topic)

The client subscribes, asks replay for missed messages and drops duplicates. It notices a loss by
the numbers: messages are numbered without holes, and heartbeats name the newest. `silent` is true
while no heartbeats arrive. Malformed messages are counted and skipped.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, NamedTuple

import msgspec
import zmq

from daemon.host.tcp import check_endpoint_form, keep_alive
from daemon.protocol.asking import Asker, milliseconds
from daemon.protocol.cursor import Cursor
from daemon.protocol.decoding import (
    Page,
    Position,
    ReceivedBeat,
    ReceivedPicture,
    examine_types,
    read_live,
    read_page,
)
from daemon.protocol.decoding import Received as Received  # the messages that a Client yields
from daemon.protocol.keys import ClientKeys as ClientKeys
from daemon.protocol.messages import HEARTBEAT_TOPIC, PREFIX, TYPES
from daemon.protocol.picture import PICTURE_TOPICS
from daemon.protocol.replay import PageRequest, StatusRequest

log = logging.getLogger(__name__)
examine_types()

PUBLISH = "tcp://127.0.0.1:5755"
REPLAY = "tcp://127.0.0.1:5756"
WAIT_S = 0.5  # between looks whether another thread has closed the client
REPLY_S = 5.0  # after this long without an answer, the client asks again
SILENT_S = 15.0  # without a sign of life; a daemon beats every 5 s
AWAY_S = 5.0  # after this long without receive(), a missing heartbeat is no proof
STRANGE_S = 12.0  # for which heartbeats name another journal than replay's: two beats and more
MALFORMED_S = 1.0  # between requests while the answers are malformed


class NoAnswer(Exception):
    """The daemon did not answer in time: it is not running, or not at this endpoint."""


@dataclass(frozen=True)
class Endpoints:
    """Where a daemon is, and the keys that it asks for."""

    publish: str = PUBLISH
    replay: str = REPLAY
    keys: ClientKeys | None = None


class Newest(NamedTuple):
    """The newest message of a daemon."""

    node: str
    position: Position


class _Status(msgspec.Struct):
    """The part of a status reply that names it."""

    node: str
    journal: str
    last: dict[str, int]


class Client:
    """Iterate over a daemon's messages in the order of their `seq`, each once, until closed.

    `since`: begin after this `seq`; 0 for everything stored, None for new messages only. `journal`
    and `last_id`: the `journal` and `id` of the message `since`, if known; if the daemon has
    another journal by now, or another message at that place, the client reads it from its start.
    `topics`: only messages whose topic begins with one of these. `buffered`: messages that wait
    between calls of `receive`; the client asks replay for any that do not fit. `keys`: needed for
    a daemon with keys; made by `tinyastd keygen`. `pictures`: how many of the newest pictures
    wait in `self.pictures` until the program takes them; with 0, the client does not ask for them.

    For one thread, but any may `close` it.
    """

    def __init__(
        self,
        publish: str = PUBLISH,
        replay: str = REPLAY,
        since: int | None = None,
        topics: Sequence[str] = (PREFIX,),  # a text is one prefix
        journal: str | None = None,
        buffered: int = 50_000,
        keys: ClientKeys | None = None,
        last_id: str | None = None,
        pictures: int = 0,
    ) -> None:
        """Raises SettingsError for an endpoint, and ValueError for a `since`, that cannot be."""
        for name, endpoint in (("publish", publish), ("replay", replay)):
            check_endpoint_form(name, endpoint)
        if since is not None and not (isinstance(since, int) and since >= 0):
            raise ValueError(
                f"since is the `seq` to begin after, 0 or more, or None; not {since!r}"
            )
        self._keys = keys
        self._publish_endpoint, self._replay_endpoint = publish, replay
        self._topics = (topics,) if isinstance(topics, str) else tuple(topics)
        self._prefix = os.path.commonprefix(self._topics)  # noqa: RUF071 - replay filters by it
        self._cursor = Cursor(since, journal, last_id, self._prefix)
        self._closed = False
        self._sockets = threading.Lock()  # held by the thread that uses them
        self._context = zmq.Context()
        self._sub = self._context.socket(zmq.SUB)
        self._sub.rcvhwm = buffered
        if keys is not None:
            keys.use_on(self._sub)
        keep_alive(self._sub)
        # All types: only their numbers together have no holes.
        for kind in TYPES:
            self._sub.subscribe(f"{PREFIX}{kind}.")
        self._sub.subscribe(HEARTBEAT_TOPIC)
        if pictures:
            self._sub.subscribe(PICTURE_TOPICS)
        self._sub.connect(publish)
        self._asker = Asker(self._context, replay, keys)
        self._ask_at = 0.0  # time.monotonic() before which not to ask again
        self._ready: deque[Received] = deque()
        # Of live windows, each received before its prediction; the oldest are dropped.
        self.pictures: deque[ReceivedPicture] = deque(maxlen=pictures)
        self.malformed = 0  # messages and replies that break the contract
        self.beat: ReceivedBeat | None = None  # the newest heartbeat
        self.silent = False  # whether the daemon hangs, is gone or cannot be reached
        self._heard_at = self._left_at = time.monotonic()
        self._strange_at: float | None = None  # the first heartbeat of another journal
        self._said_strange = False

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End iteration and a call of `receive` too, if another thread waits in one."""
        self._closed = True
        self._close_sockets()

    def _close_sockets(self) -> None:
        """Now, or when the thread that uses them is done with them."""
        if self._sockets.acquire(blocking=False):
            try:
                self._context.destroy(linger=0)
            finally:
                self._sockets.release()

    def __iter__(self) -> Iterator[Received]:
        """Raises as `receive` does, but ends if the client is closed meanwhile."""
        self._check_open()
        while (received := self._next(None)) is not None:
            yield received

    def receive(self, timeout: float | None = None) -> Received | None:
        """The next message; None if `timeout` seconds pass without one, or it is closed by then.

        After 15 s of waiting without a sign of the daemon, it logs that and sets `silent` until
        there is one. It keeps trying all the while.

        Raises Refused (daemon.protocol.decoding) if the daemon refuses the replay request, and
        ValueError after `close`.
        """
        self._check_open()
        return self._next(timeout)

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the client is closed; make another one")

    def _next(self, timeout: float | None) -> Received | None:
        now = time.monotonic()
        if self._ready or now - self._left_at > AWAY_S:  # the program did not wait for it
            self._heard_at = now
        try:
            with self._sockets:
                return self._receive(None if timeout is None else now + timeout)
        finally:
            self._left_at = time.monotonic()
            if self._closed:
                self._close_sockets()

    def _receive(self, deadline: float | None) -> Received | None:
        while not self._ready and not self._closed:
            left = WAIT_S if deadline is None else deadline - time.monotonic()
            left = min(max(left, 0.0), WAIT_S)
            if self._cursor.behind:
                self._replay_page(left)
            elif self._sub.poll(milliseconds(left)):
                self._take_live(self._sub.recv_multipart())
            self._watch_silence()
            if left == 0 and not self._ready:
                return None
        return None if self._closed else self._ready.popleft()

    @property
    def journal(self) -> str | None:
        """The journal that every `seq` so far counts in."""
        return self._cursor.journal

    @property
    def lost(self) -> int:
        """Messages that the daemon no longer keeps."""
        return self._cursor.lost

    @property
    def heartbeat(self) -> Any:
        """The newest heartbeat as plain Python values; None before the first."""
        return None if self.beat is None else self.beat.message

    def status(self, timeout: float = REPLY_S) -> Any:
        """The daemon's status as plain Python values. Raises NoAnswer."""
        return ask_status(self._replay_endpoint, self._keys, timeout)

    # -- signs of life -------------------------------------------------------------------------

    def _hear(self) -> None:
        self._heard_at = time.monotonic()
        if self.silent:
            self.silent = False
            log.warning("the daemon at %s is heard again", self._publish_endpoint)

    def _watch_silence(self) -> None:
        if not self.silent and time.monotonic() - self._heard_at > SILENT_S:
            self.silent = True
            log.warning(
                "no sign of life from the daemon at %s for %g s: it hangs, is gone or cannot be "
                "reached; waiting for it",
                self._publish_endpoint,
                SILENT_S,
            )

    def _watch_journal(self, journal: str) -> None:
        """Replay has given pages since the last heartbeat, if that one named another journal."""
        now = time.monotonic()
        if journal == self._cursor.journal or self._cursor.journal is None:
            self._strange_at, self._said_strange = None, False
        elif self._strange_at is None:
            self._strange_at = now
        elif now - self._strange_at > STRANGE_S and not self._said_strange:
            self._said_strange = True
            log.error(
                "%s and %s belong to two daemons, with the journals %s and %s; messages come from "
                "the second one alone, and late: name both endpoints of one daemon",
                self._publish_endpoint,
                self._replay_endpoint,
                journal,
                self._cursor.journal,
            )

    def _skip(self, what: str) -> None:
        self.malformed += 1
        log.warning("%s of the daemon is malformed, and skipped", what)

    # -- live and replay -----------------------------------------------------------------------

    def _take_live(self, frames: list[bytes]) -> None:
        self._hear()
        received = read_live(frames)
        if received is None:
            self._skip("a message")
        elif isinstance(received, ReceivedBeat):
            self.beat = received
            self._watch_journal(received.journal)
            self._cursor.hear_beat(received.journal, received.last)
        elif isinstance(received, ReceivedPicture):
            self.pictures.append(received)
        elif self._cursor.passes(received):
            self._give(received)

    def _give(self, received: Received) -> None:
        if received.topic.startswith(self._topics):
            self._ready.append(received)

    def _replay_page(self, timeout: float) -> None:
        """Continue with replay: ask, or wait for the answer."""
        pause = self._ask_at - time.monotonic()
        if pause > 0:
            time.sleep(min(pause, timeout))
            return
        since = self._cursor.since
        frames = self._asker.ask(PageRequest(since, topic=self._prefix), timeout, REPLY_S)
        if frames is None:
            return
        self._hear()
        page = read_page(frames, since)
        if page is None:
            self._ask_at = time.monotonic() + min(MALFORMED_S, REPLY_S)
            self._skip("a reply")
            return
        for received in self._cursor.take(page):
            self._give(received)


def ask_status(replay: str, keys: ClientKeys | None = None, timeout: float = REPLY_S) -> Any:
    """The status of a daemon as plain Python values, without subscribing. Raises NoAnswer."""
    context = zmq.Context()
    try:
        asker = Asker(context, replay, keys)
        answer = asker.ask(StatusRequest(), timeout, timeout)
        if answer is None:
            raise NoAnswer(f"no daemon answers at {replay}")
        return msgspec.json.decode(answer[0])
    finally:
        context.destroy(linger=0)


def ask_newest(daemon: Endpoints, timeout: float = REPLY_S) -> Newest:
    """Where a subscriber starts that wants new messages only. Raises NoAnswer."""
    try:
        answer = msgspec.convert(ask_status(daemon.replay, daemon.keys, timeout), _Status)
    except msgspec.ValidationError as error:
        raise NoAnswer(f"{daemon.replay} does not answer as a daemon does: {error}") from error
    return Newest(answer.node, Position(max(answer.last.values(), default=0), answer.journal))


def seq_before(
    moment: float, replay: str, keys: ClientKeys | None = None, timeout: float = REPLY_S
) -> int:
    """The `seq` after which a daemon's messages were published at `moment` or later.

    `moment` is in seconds since 1970. Each question halves the messages in doubt. Raises NoAnswer,
    and Refused if the daemon refuses to answer.
    """
    context = zmq.Context()
    try:
        asker = Asker(context, replay, keys)

        def following(since: int) -> Page:
            frames = asker.ask(PageRequest(since, limit=1), timeout, timeout)
            page = None if frames is None else read_page(frames, since)
            if page is None:
                raise NoAnswer(f"no daemon answers at {replay}")
            return page

        head = following(0).head
        early, late = max(0, head.oldest - 1), head.newest
        while early < late:
            middle = (early + late) // 2
            message = next(iter(following(middle).messages), None)
            if message is None:  # the disk damaged what follows
                late = middle
            elif datetime.fromisoformat(message.message["published_at"]).timestamp() < moment:
                early = message.message["seq"]
            else:
                late = middle
        return early
    finally:
        context.destroy(linger=0)
