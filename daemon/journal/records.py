"""Data that the journal stores and returns, as the rest of the daemon sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from daemon.errors import Abandoned as Abandoned
from daemon.journal.ledger import LedgerRow
from daemon.protocol.messages import Message
from daemon.protocol.picture import Picture


class OpenEvent(Struct, frozen=True):
    """An open event. `body` lets the next start end it; None: it has ended."""

    id: str
    body: bytes | None


class Record(Struct, frozen=True):
    """One unit of a commit: messages and the ledger row that belongs to them."""

    messages: Sequence[Message] = ()
    row: LedgerRow | None = None
    forget: Sequence[bytes] = ()  # paths to classify again
    # Ledger rows, by path and time of writing, of files that are gone.
    gone: Sequence[tuple[bytes, int | None]] = ()
    events: Sequence[OpenEvent] = ()  # events that began, continue or ended
    noticed: float | None = None  # time.monotonic() when the sound of its predictions was whole


class Published(Struct, frozen=True):
    """A message as it went into the journal."""

    seq: int
    topic: str
    body: bytes


class StoredPage(Struct, frozen=True):
    """One answer of the journal to a replay request."""

    messages: list[Published]
    next: int  # the next `since`
    oldest: int  # the oldest stored seq; newest + 1 for an empty journal
    newest: int
    damaged: int = 0  # messages that the disk damaged, and that are left out


class Delivery(Struct, frozen=True):
    """A record to commit and publish; the delivery thread then calls `committed`."""

    record: Record
    committed: Callable[[], None] | None = None
    pictures: Sequence[Picture] = ()  # of its predictions; published and not kept
