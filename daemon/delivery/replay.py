"""Replay: answer subscribers that ask for messages they missed, over a ROUTER socket.

One JSON frame asks, one multipart message answers: a JSON header, then topic and JSON of each
message, byte for byte as published. Nothing a client sends, or leaves unread, holds up anyone else:
replies that are not yet on the wire are counted, and the more of them there are the smaller new
ones become.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec
import zmq

from daemon.delivery.endpoint import MAX_MESSAGE, Endpoint, starting_zeromq
from daemon.journal.reader import READ_ERRORS, JournalReader, open_reader
from daemon.journal.records import StoredPage
from daemon.monitoring.metrics import Tally
from daemon.monitoring.service_thread import ServiceThread
from daemon.monitoring.waking import Waker
from daemon.protocol.messages import Error, to_json
from daemon.protocol.replay import MAX_MESSAGES, PageHead, Refusal, Request
from daemon.protocol.states import DaemonStatus
from tinyast.errors import CodedError

log = logging.getLogger(__name__)

MAX_BYTES = 1_000_000  # in one reply
MAX_UNSENT = 16_000_000  # bytes of replies not yet on the wire, over all clients
MIN_BYTES = 16_000  # least limit of a reply, even if many are unsent
IDLE_MS = 10_000  # between turns without a request: `stop` wakes the thread
STALL_S = 60.0  # for one reply
TRACKED_S = 10.0  # for pyzmq to report that the first message was sent


class BadRequest(CodedError):
    """A request that cannot be answered, with the code and words that say so."""


class ReplayThread(ServiceThread):
    """Owns the replay endpoint and a reading connection from `start` to its end."""

    def __init__(
        self,
        state: Path,
        endpoint: Endpoint,
        journal: str,
        status: Callable[[], DaemonStatus],
        tally: Tally,
    ) -> None:
        super().__init__("replay", STALL_S)
        _open_tracking_sockets()
        self._state, self._endpoint, self._journal, self._status = state, endpoint, journal, status
        self._tally = tally
        self._unsent: deque[tuple[zmq.MessageTracker, int]] = deque()
        self._waker = Waker()
        self.answered = 0
        self.refused = 0

    def stop(self) -> None:
        super().stop()
        self._waker.wake()

    def work(self) -> None:
        reader = open_reader(self._state, self._halt)
        if reader is None:
            self._endpoint.close()
            return
        try:
            with self._waker.waiting():
                self._serve(reader)
        finally:
            reader.close()
            self._endpoint.close()

    def _serve(self, reader: JournalReader) -> None:
        poller = zmq.Poller()
        for each in (self._waker, self._endpoint.socket):
            poller.register(each, zmq.POLLIN)
        while not self._halt.is_set():
            self.liveness.progress()
            if self._endpoint.socket in dict(poller.poll(IDLE_MS)):
                request = self._endpoint.take()
                with self._tally.stage("replay"):
                    self._answer(reader, request)

    def _answer(self, reader: JournalReader, frames: list[bytes]) -> None:
        self._unsent = deque(item for item in self._unsent if not item[0].done)
        address, *request = frames
        envelope = [address, b""] if request and request[0] == b"" else [address]
        try:
            reply = self._reply(reader, _parse(request[len(envelope) - 1 :]))
            self.answered += 1
        except BadRequest as error:
            self.refused += 1
            reply = [to_json(Refusal(Error(error.code, str(error))))]
        except READ_ERRORS as error:
            log.error("the journal cannot be read now: %s", error or "out of memory")
            return  # the client asks again
        *front, last = envelope + reply
        size = sum(map(len, reply))
        for frame in front:
            self._endpoint.socket.send(frame, zmq.SNDMORE)
        tracker = self._endpoint.socket.send(last, copy=False, track=True)
        self._unsent.append((tracker, size))

    def _reply(self, reader: JournalReader, request: Request) -> list[bytes]:
        if request.status:
            return [to_json(self._status())]
        assert request.since is not None
        page = reader.page(
            request.since, min(request.limit, MAX_MESSAGES), self._budget(), request.topic
        )
        return _frames(self._journal, page)

    def _budget(self) -> int:
        """Bytes that the next reply may have."""
        room = MAX_UNSENT - sum(size for _, size in self._unsent)
        return max(MIN_BYTES, min(MAX_BYTES, room // 8))


def _open_tracking_sockets() -> None:
    """Have pyzmq open the sockets that report what has been sent.

    It opens them at the first message that is tracked, which may be when connections have taken
    all other descriptors. Raises StartError if it cannot.
    """
    with (
        starting_zeromq(),
        zmq.Context() as context,
        context.socket(zmq.PAIR) as one,
        context.socket(zmq.PAIR) as two,
    ):
        one.bind("inproc://tracked")
        two.connect("inproc://tracked")
        tracker = one.send(bytes(zmq.COPY_THRESHOLD), copy=False, track=True)
        two.recv()
        tracker.wait(TRACKED_S)


def _frames(journal: str, page: StoredPage) -> list[bytes]:
    frames = [to_json(PageHead(journal, page.next, page.oldest, page.newest, page.damaged))]
    for message in page.messages:
        frames += (message.topic.encode(), message.body)
    return frames


def _parse(frames: list[bytes]) -> Request:
    if len(frames) != 1:
        raise BadRequest("bad_request", f"expected one JSON frame, got {len(frames)} frames")
    if len(frames[0]) > MAX_MESSAGE:
        raise BadRequest("bad_request", f"a request has at most {MAX_MESSAGE} bytes")
    try:
        request = _decode(frames[0])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest("bad_request", f"not a request: {error}") from error
    if request.status:
        return request
    if request.since is None:
        raise BadRequest("bad_request", 'a request has "since", the last seq seen, or "status"')
    return request


_decode = msgspec.json.Decoder(Request).decode
