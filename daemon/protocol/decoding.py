"""Is what came over the wire a message, or a page of replay? What is neither is None.

A subscriber goes by a few fields; the rest of a message is for whoever reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

Seq = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Head(Struct):
    """What orders a message."""

    type: str
    journal: str
    seq: Seq
    prev: Seq


class _Beat(Struct):
    journal: str
    last: dict[str, Seq]


class _Refusal(Struct):
    code: str
    text: str


class PageHead(Struct, frozen=True):
    """The header of a page of replay."""

    journal: str
    next: Seq
    oldest: Seq
    newest: Seq


@dataclass(frozen=True)
class Received:
    """One message, as published."""

    topic: str
    message: dict[str, Any]
    body: bytes  # the JSON that `message` was read from


@dataclass(frozen=True)
class Page:
    """One answer of replay."""

    head: PageHead
    messages: list[Received]


class Refused(Exception):
    """Replay will not answer what it was asked; the text says why."""


def read_live(frames: Sequence[bytes]) -> Received | None:
    """A message or heartbeat as it was published."""
    if len(frames) != 2:
        return None
    try:
        topic = str(frames[0], "utf-8")
        message = _decode(frames[1])
        beats = isinstance(message, dict) and message.get("type") == "heartbeat"
        msgspec.convert(message, _Beat if beats else _Head)
    except _BAD:
        return None
    return Received(topic, message, frames[1])


def read_page(frames: Sequence[bytes], since: int) -> Page | None:
    """The answer to a request for what comes after `since`. Raises Refused."""
    if len(frames) % 2 == 0:
        return None
    try:
        answer = _decode(frames[0])
        if isinstance(answer, dict) and "error" in answer:
            error = msgspec.convert(answer["error"], _Refusal)
            raise Refused(f"replay refused ({error.code}): {error.text}")
        head = msgspec.convert(answer, PageHead)
    except _BAD:
        return None
    if since < head.next < head.newest or head.next >= head.newest or head.newest < since:
        messages = [read_live(pair) for pair in zip(frames[1::2], frames[2::2], strict=True)]
        whole = [each for each in messages if each and each.message["type"] != "heartbeat"]
        return Page(head, whole) if len(whole) == len(messages) else None
    return None  # who believed it would ask for the same again, for ever


_BAD = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_decode = msgspec.json.Decoder().decode
