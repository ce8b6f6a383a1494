"""What the journal keeps and gives back, as the rest of the daemon sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from daemon.errors import Abandoned as Abandoned
from daemon.journal.ledger import LedgerRow
from daemon.protocol.messages import Message


@dataclass(frozen=True)
class OpenEvent:
    """A sound that goes on. `body` is what its next start needs to end it; None: it ended."""

    id: str
    body: bytes | None


@dataclass(frozen=True)
class Record:
    """What is committed together: messages and the ledger row that belongs to them."""

    messages: Sequence[Message] = ()
    row: LedgerRow | None = None
    forget: Sequence[bytes] = ()  # paths to classify again
    # Ledger rows, by path and time of writing, of files that are gone.
    gone: Sequence[tuple[bytes, int | None]] = ()
    events: Sequence[OpenEvent] = ()  # sounds that began, go on or ended
    noticed: float | None = None  # time.monotonic() when the sound of its predictions was whole


@dataclass(frozen=True)
class Published:
    """A message as it went into the journal."""

    seq: int
    topic: str
    body: bytes


@dataclass(frozen=True)
class Page:
    """One answer of the journal to a replay request."""

    messages: list[Published]
    next: int  # the seq to ask on from
    oldest: int  # the oldest seq still kept; newest + 1 if none is
    newest: int


@dataclass(frozen=True)
class Delivery:
    """Something to commit and publish; `committed` is called from the delivery thread after."""

    record: Record
    committed: Callable[[], None] | None = None
