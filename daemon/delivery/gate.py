"""Who is in at one endpoint, and what those who have left still cost.

Libzmq frees the memory of a connection that has ended when the thread that owns its socket uses it.
Until then the connection counts, so that no flood of short ones takes all memory.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from msgspec import Struct, field

from daemon.delivery.budgets import Ledger
from daemon.delivery.connections import EndpointStats
from daemon.delivery.listening import Inner, Listener
from daemon.delivery.passage import Passage

CLEAR_S, CLEARED = 0.02, 3  # between turns of freeing memory, and how many it takes
MOST_LEFT = 256  # connections whose memory is not freed yet, of 10 kB or more
REPORT_S = 10.0  # for libzmq to report that it has closed a connection


class Gate(Struct, eq=False):
    """An endpoint, as its clients find it. For the door's thread."""

    name: str
    listener: Listener
    inner: Inner
    ledger: Ledger
    stats: EndpointStats
    has_keys: bool
    open: set[Passage] = field(default_factory=set)
    names: dict[bytes, Passage] = field(default_factory=dict)
    queue: deque[Passage] = field(default_factory=deque)  # spoke; libzmq does not have them yet
    # Of the thread that owns libzmq's socket, to use it; None if it always does.
    ask_to_clear: Callable[[], object] | None = None
    left: deque[Passage] = field(default_factory=deque)
    ended: int = 0  # passages in all
    missed: int = 0  # reports of their end that did not come
    ask_at: float = 0.0

    def may_open(self) -> bool:
        return len(self.left) < MOST_LEFT and self.ledger.may_open()

    def enter(self, passage: Passage) -> None:
        self.stats.accepted += 1
        self.open.add(passage)
        self.stats.connections = len(self.open)

    def leave(self, passage: Passage) -> None:
        self.open.discard(passage)
        self.names.pop(passage.name, None)
        self.ledger.leave(passage.account)
        self.stats.connections = len(self.open)
        if passage.inner is None or self.ask_to_clear is None:
            self.ledger.forget(passage.account)
        if passage.inner is not None:
            self.ended += 1
            passage.number, passage.left_at = self.ended, time.monotonic()
            if self.ask_to_clear is not None:
                self.left.append(passage)

    def free_memory(self) -> None:
        """Now and then, ask for the memory of those that have left."""
        now = time.monotonic()
        if self.left and self.ask_to_clear is not None and now >= self.ask_at:
            self.ask_at = now + CLEAR_S
            self.ask_to_clear()

    def forget(self) -> None:
        """Release what those have left behind whose memory libzmq has freed.

        It passes a few commands to and fro for that, so it takes more than one turn.
        """
        now = time.monotonic()
        for passage in self.left:
            self.missed += not self._has_reported(passage) and now - passage.left_at > REPORT_S
            passage.cleared += self._has_reported(passage)
        while self.left and self.left[0].cleared >= CLEARED:
            self.ledger.forget(self.left.popleft().account)

    def _has_reported(self, passage: Passage) -> bool:
        """Whether libzmq has closed its side of a passage that has left."""
        return self.stats.left + self.missed >= passage.number
