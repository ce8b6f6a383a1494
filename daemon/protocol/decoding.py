"""Parse and validate frames from the wire; None if malformed.

A subscriber depends on the few fields of a `Head`. The rest of a message is for its reader: as a
typed struct (`Received.content`) or as plain values (`Received.message`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import msgspec
from msgspec import Struct

from daemon.protocol.messages import Event, FileEnd, Gap, Message, Prediction, Status
from daemon.protocol.picture import Picture
from daemon.protocol.replay import PageHead, Refusal, Seq
from daemon.protocol.states import Heartbeat

KINDS: dict[str, type[Message]] = {
    "prediction": Prediction,
    "file": FileEnd,
    "event": Event,
    "gap": Gap,
    "status": Status,
}


class Head(Struct, frozen=True):
    """The fields that order a message."""

    type: str
    journal: str
    seq: Seq
    prev: Seq
    id: str


class Position(Struct, frozen=True):
    """A place of a subscriber: it is done with this message and all before it."""

    seq: int
    journal: str | None
    id: str | None = None  # of that message, if there is one

    @classmethod
    def after(cls, head: Head) -> Position:
        return cls(head.seq, head.journal, head.id)


class _Shown(Struct, frozen=True):
    type: str
    id: str
    png: bytes  # msgspec decodes base64


class _Beat(Struct, frozen=True):
    type: str
    journal: str
    last: dict[str, Seq]


class Received(Struct, frozen=True, dict=True):
    """One message, as published."""

    topic: str
    head: Head
    message: Any  # its JSON as plain Python values
    body: bytes  # the JSON itself

    @cached_property
    def content(self) -> Message:
        """The message as a struct. Raises msgspec.ValidationError if it breaks the contract."""
        return msgspec.convert(self.message, KINDS.get(self.head.type, Message))


class ReceivedBeat(Struct, frozen=True, dict=True):
    """One heartbeat, as published."""

    journal: str
    last: dict[str, int]  # newest seq of each type
    message: Any  # its JSON as plain Python values

    @cached_property
    def content(self) -> Heartbeat:
        """The heartbeat as a struct. Raises msgspec.ValidationError if it breaks the contract."""
        return msgspec.convert(self.message, Heartbeat)


class ReceivedPicture(Struct, frozen=True, dict=True):
    """One picture, as published."""

    id: str  # of its prediction
    png: bytes
    message: Any  # its JSON as plain Python values

    @cached_property
    def content(self) -> Picture:
        """The picture as a struct. Raises msgspec.ValidationError if it breaks the contract."""
        return msgspec.convert(self.message, Picture)


class Page(Struct, frozen=True):
    """One answer of replay."""

    head: PageHead
    messages: list[Received]


class Refused(Exception):
    """Replay refused a request; the text says why."""


def read_message(body: bytes) -> Message:
    """A journalled or published message as a struct; of a type added later, its envelope.

    Raises msgspec.MsgspecError.
    """
    kind = msgspec.json.decode(body, type=_Kind).type
    return msgspec.json.decode(body, type=KINDS.get(kind, Message))


class _Kind(Struct):
    type: str


def read_live(frames: Sequence[bytes]) -> Received | ReceivedBeat | ReceivedPicture | None:
    """A message, heartbeat or picture as it was published."""
    if len(frames) != 2:
        return None
    try:
        topic = str(frames[0], "utf-8")
        message = _decode(frames[1])
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "picture":
            shown = msgspec.convert(message, _Shown)
            return ReceivedPicture(shown.id, shown.png, message)
        if kind == "heartbeat":
            beat = msgspec.convert(message, _Beat)
            return ReceivedBeat(beat.journal, beat.last, message)
        return Received(topic, msgspec.convert(message, Head), message, frames[1])
    except _BAD:
        return None


def read_page(frames: Sequence[bytes], since: int) -> Page | None:
    """The answer to a request for messages after `since`. Raises Refused."""
    if len(frames) % 2 == 0:
        return None
    try:
        answer = _decode(frames[0])
        if isinstance(answer, dict) and "error" in answer:
            error = msgspec.convert(answer, Refusal).error
            raise Refused(f"replay refused ({error.code}): {error.text}")
        head = msgspec.convert(answer, PageHead)
    except _BAD:
        return None
    if since < head.next < head.newest or head.next >= head.newest or head.newest < since:
        messages = [read_live(pair) for pair in zip(frames[1::2], frames[2::2], strict=True)]
        whole = [each for each in messages if isinstance(each, Received)]
        return Page(head, whole) if len(whole) == len(messages) else None
    return None  # a client that believed it would repeat the same request endlessly


_BAD = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_decode = msgspec.json.Decoder().decode


def examine_types() -> None:
    """Have msgspec examine the types now, not at the first message of each.

    It runs Python code for that, and drops a KeyboardInterrupt raised there: a Ctrl-C at the moment
    when the first message comes would be lost.
    """
    ours = (Head, _Beat, _Shown, PageHead, Refusal, Heartbeat, Picture, Message)
    for kind in (*ours, *KINDS.values()):
        msgspec.json.Decoder(kind)
