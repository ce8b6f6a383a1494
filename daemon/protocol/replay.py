"""What replay is asked and answers: the frames of JSON before the messages themselves."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from daemon.protocol.fields import Uuid
from daemon.protocol.messages import Error

MAX_SEQ = 2**63 - 1  # SQLite has no larger number
Seq = Annotated[int, Meta(ge=0, le=MAX_SEQ)]
MAX_MESSAGES = 1_000  # in one answer


class PageRequest(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A request for the messages after `since`."""

    since: Seq
    limit: Annotated[int, Meta(ge=1)] = MAX_MESSAGES
    topic: str = ""  # only topics that begin with this


class StatusRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A request for the daemon's status."""

    status: Literal[True] = True


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """Either request, as the daemon reads it."""

    since: Seq | None = None
    limit: Annotated[int, Meta(ge=1)] = MAX_MESSAGES
    topic: str = ""  # only topics that begin with this
    status: bool = False


class PageHead(Struct, frozen=True, omit_defaults=True):
    """The header of a page of messages."""

    journal: Uuid
    next: Seq  # `since` of the next request; the last page has `next` = `newest`
    oldest: Seq  # the first message that is still kept
    newest: Seq
    # Messages before `next` that the disk damaged, which are left out whatever their topic was.
    damaged: Annotated[int, Meta(ge=0)] = 0


class Refusal(Struct, frozen=True):
    """The answer to a request that cannot be answered."""

    error: Error
