"""Hearing what a daemon says, without missing any of it.

    from daemon.client import Client

    with Client(since=0) as client:
        for received in client:
            print(received.message["seq"], received.topic)

The client subscribes, asks replay for what it has missed and drops what it has seen. It notices a
loss by itself: each message names the one of its type before it, and heartbeats name the newest.
Where they fail to come, `silent` says so. What is no message is counted and passed over.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import zmq

from daemon.host.tcp import keep_alive
from daemon.protocol.decoding import Page, ReceivedBeat, read_live, read_page
from daemon.protocol.decoding import Received as Received  # what a Client gives out
from daemon.protocol.keys import load_pair, load_public
from daemon.protocol.messages import HEARTBEAT_TOPIC, PREFIX, TYPES

log = logging.getLogger(__name__)

PUBLISH = "tcp://127.0.0.1:5755"
REPLAY = "tcp://127.0.0.1:5756"
REPLY_S = 5.0  # a daemon that has not answered by then is asked again
SILENT_S = 15.0  # without a sign of life; a daemon beats every 5 s
AWAY_S = 5.0  # who has not called `receive` for so long cannot tell whether there were any
NEVER = 2**63 - 1  # a seq that no message has yet

_decode = msgspec.json.Decoder().decode


class NoAnswer(Exception):
    """The daemon did not answer in time: it is not running, or not at this endpoint."""


@dataclass(frozen=True)
class ClientKeys:
    """What a daemon with keys asks of a subscriber: Z85, 40 characters each."""

    server: bytes  # the daemon's public key
    public: bytes
    secret: bytes

    @classmethod
    def load(cls, server: Path | str, own: Path | str) -> ClientKeys:
        """Read `server.key` and one's own `NAME.key_secret`. Raises SettingsError."""
        public, secret = load_pair(Path(own))
        return cls(load_public(Path(server)), public, secret)


class Client:
    """An endless iterator over a daemon's messages, in order within each type, each once.

    `since`: the `seq` after which to begin, 0 for all that is kept; None for what comes from now
    on. `journal`: the one that `since` counts in, if known: should the daemon have another by now,
    that one is read from its start. `topics`: only messages whose topic begins with one of these.
    `buffered`: messages that wait while nobody asks for them; what does not fit is replayed.
    `keys`: what a daemon with keys asks for; made by `tinyastd keygen`.

    For one thread.
    """

    def __init__(
        self,
        publish: str = PUBLISH,
        replay: str = REPLAY,
        since: int | None = None,
        topics: Sequence[str] = (PREFIX,),
        journal: str | None = None,
        buffered: int = 50_000,
        keys: ClientKeys | None = None,
    ) -> None:
        self._keys = keys
        self._publish_endpoint, self._replay_endpoint = publish, replay
        self._topics = tuple(topics)
        self._context = zmq.Context()
        self._sub = self._context.socket(zmq.SUB)
        self._sub.rcvhwm = buffered
        _show_keys(self._sub, keys)
        keep_alive(self._sub)
        # Whole types, so that `prev` tells of a loss; what was not asked for is dropped here.
        wanted = [kind for kind in TYPES if self._wants(f"{PREFIX}{kind}.")]
        for kind in wanted:
            self._sub.subscribe(f"{PREFIX}{kind}.")
        self._sub.subscribe(HEARTBEAT_TOPIC)
        self._sub.connect(publish)
        self._dealer = self._connect_dealer()
        self._asked_at: float | None = None  # when the page was asked for that is awaited
        self._ready: deque[Received] = deque()
        self.journal = journal  # the one that every `seq` so far counts in
        self._seen = dict.fromkeys(wanted, since or 0)  # newest seq given out, or passed, by type
        self._cursor: int | None = NEVER if since is None else since  # replay goes on from here
        self.malformed = 0  # messages and replies that were none
        self.lost = 0  # messages that the daemon no longer keeps
        self.beat: ReceivedBeat | None = None  # the newest heartbeat
        self.silent = False  # whether the daemon hangs, is gone or cannot be reached
        self._heard_at = self._left_at = time.monotonic()

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
        self._context.destroy(linger=0)

    def __iter__(self) -> Iterator[Received]:
        while True:
            received = self.receive()
            if received is not None:
                yield received

    def receive(self, timeout: float | None = None) -> Received | None:
        """The next message, or None where none came within `timeout` seconds.

        After 15 s of waiting without a sign of the daemon, it logs that and sets `silent`, until
        there is one; it goes on trying all the while.

        Raises Refused (daemon.protocol.decoding) if the daemon refuses the replay request.
        """
        now = time.monotonic()
        if self._ready or now - self._left_at > AWAY_S:  # it was not waited for
            self._heard_at = now
        try:
            return self._receive(None if timeout is None else now + timeout)
        finally:
            self._left_at = time.monotonic()

    def _receive(self, deadline: float | None) -> Received | None:
        while not self._ready:
            left = REPLY_S if deadline is None else max(0.0, deadline - time.monotonic())
            if self._cursor is not None:
                self._replay_page(min(left, REPLY_S))
            elif self._sub.poll(_ms(min(left, REPLY_S))):
                self._take_live(self._sub.recv_multipart())
            self._mind_silence()
            if left == 0 and not self._ready:
                return None
        return self._ready.popleft()

    @property
    def heartbeat(self) -> Any:
        """The newest heartbeat as plain Python values; None before the first."""
        return None if self.beat is None else self.beat.message

    def status(self, timeout: float = REPLY_S) -> Any:
        """The daemon's status as plain Python values. Raises NoAnswer."""
        return ask_status(self._replay_endpoint, self._keys, timeout)

    def _wants(self, prefix: str) -> bool:
        """Whether some topic asked for may begin with `prefix`."""
        return any(prefix.startswith(topic) or topic.startswith(prefix) for topic in self._topics)

    # -- signs of life -------------------------------------------------------------------------

    def _hear(self) -> None:
        self._heard_at = time.monotonic()
        if self.silent:
            self.silent = False
            log.warning("the daemon at %s is heard again", self._publish_endpoint)

    def _mind_silence(self) -> None:
        if not self.silent and time.monotonic() - self._heard_at > SILENT_S:
            self.silent = True
            log.warning(
                "nothing has been heard of the daemon at %s for %g s: it hangs, is gone or cannot "
                "be reached; waiting for it",
                self._publish_endpoint,
                SILENT_S,
            )

    # -- live ----------------------------------------------------------------------------------

    def _take_live(self, frames: list[bytes]) -> None:
        self._hear()
        received = read_live(frames)
        if received is None:
            self._pass_over("a message")
            return
        if isinstance(received, ReceivedBeat):
            self._take_beat(received)
        elif received.head.journal != self.journal:
            self._begin_journal(received.head.journal)
        elif received.head.prev > self._seen.get(received.head.type, NEVER):
            self._cursor = self._seen[received.head.type]
        else:
            self._give(received)

    def _take_beat(self, beat: ReceivedBeat) -> None:
        if beat.journal != self.journal:
            self._begin_journal(beat.journal)
            return
        self.beat = beat
        behind = [seen for kind, seen in self._seen.items() if beat.last.get(kind, 0) > seen]
        self._cursor = min(behind, default=None)

    def _give(self, received: Received) -> None:
        kind, seq = received.head.type, received.head.seq
        if kind not in self._seen or seq <= self._seen[kind]:
            return
        self._seen[kind] = seq
        if received.topic.startswith(self._topics):
            self._ready.append(received)

    def _pass_over(self, what: str) -> None:
        self.malformed += 1
        log.warning("%s of the daemon is not as it should be, and is passed over", what)

    def _begin_journal(self, journal: str) -> None:
        log.warning("the daemon has begun a new journal, %s; reading it from its start", journal)
        self.journal = journal
        self._seen = dict.fromkeys(self._seen, 0)
        self._cursor = 0

    # -- replay --------------------------------------------------------------------------------

    def _replay_page(self, timeout: float) -> None:
        """Go on with replay: ask, or go on waiting for what was asked."""
        since = self._cursor
        assert since is not None
        page = self._ask(since, timeout)
        if page is None:
            return
        head = page.head
        if self.journal not in (None, head.journal) or head.newest < since < NEVER:
            self._begin_journal(head.journal)
            return
        self.journal = head.journal
        if head.oldest > since + 1:
            self.lost += head.oldest - since - 1
            log.warning("messages before %d are no longer kept", head.oldest)
        for received in page.messages:
            self._give(received)
        self._cursor = head.next
        if head.next >= head.newest:
            self._seen = {kind: max(seq, head.newest) for kind, seq in self._seen.items()}
            self._cursor = None

    def _ask(self, since: int, timeout: float) -> Page | None:
        if self._asked_at is None:
            request = {"since": since, "topic": _common_start(self._topics)}
            self._dealer.send(msgspec.json.encode(request))
            self._asked_at = time.monotonic()
        if self._dealer.poll(_ms(timeout)):
            frames, asked = self._dealer.recv_multipart(), self._asked_at
            self._hear()
            self._asked_at = None
            page = read_page(frames, since)
            if page is not None:
                return page
            self._pass_over("a reply")
            self._asked_at = asked  # as if none had come: asked again in a while, not at once
        if time.monotonic() - self._asked_at >= REPLY_S:
            # On a socket of its own, so that a late answer is not taken for one to the next.
            self._dealer.close(linger=0)
            self._dealer = self._connect_dealer()
            self._asked_at = None
        return None

    def _connect_dealer(self) -> zmq.Socket[bytes]:
        return _connect_dealer(self._context, self._replay_endpoint, self._keys)


def ask_status(replay: str, keys: ClientKeys | None = None, timeout: float = REPLY_S) -> Any:
    """The status of a daemon as plain Python values, without subscribing. Raises NoAnswer."""
    context = zmq.Context()
    try:
        dealer = _connect_dealer(context, replay, keys)
        dealer.send(msgspec.json.encode({"status": True}))
        if not dealer.poll(_ms(timeout)):
            raise NoAnswer(f"no daemon answers at {replay}")
        return _decode(dealer.recv())
    finally:
        context.destroy(linger=0)


def _connect_dealer(
    context: zmq.Context[zmq.Socket[bytes]], replay: str, keys: ClientKeys | None
) -> zmq.Socket[bytes]:
    dealer = context.socket(zmq.DEALER)
    _show_keys(dealer, keys)
    dealer.linger = 0
    dealer.connect(replay)
    return dealer


def _show_keys(socket: zmq.Socket[bytes], keys: ClientKeys | None) -> None:
    if keys is not None:
        socket.curve_serverkey = keys.server
        socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret


def _ms(seconds: float) -> int:
    """Whole milliseconds, rounded up so that a wait is never cut to nothing."""
    return math.ceil(1000 * seconds)


def _common_start(topics: Sequence[str]) -> str:
    """The longest prefix of all of `topics`, which replay can filter by."""
    first, last = min(topics), max(topics)
    length = next((i for i, c in enumerate(first) if last[i : i + 1] != c), len(first))
    return first[:length]
