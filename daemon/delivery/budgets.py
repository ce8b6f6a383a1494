"""What clients may send: bytes of each connection, of an address, and of all together.

libzmq keeps every byte that it cannot deliver: the parts of a message that never ends, and of
subscriptions some 60 times their size, as a tree with a node for each byte. Whenever a subscriber
leaves, it walks the whole tree (0.25 µs for each byte). It has no limit for either.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

WALK_S = 0.25e-6  # for each byte of all subscriptions, when a subscriber leaves (libzmq 4.3.5)
SHARE, BURST_S = 0.2, 0.5  # of one core for such walks, and how much of it may be saved up


class Budget(Struct, frozen=True):
    """Most bytes that wait or are stored, beyond the free ones of each connection."""

    free: int
    each: int
    address: int
    all: int
    stored: bool  # for as long as the connection lasts, as are subscriptions; requests are answered


SUBSCRIPTIONS = Budget(200, 16_000, 48_000, 64_000, True)
REQUESTS = Budget(1_000, 64_000, 250_000, 1_000_000, False)  # libzmq takes 64 B for a frame of 2


class Account(Struct, eq=False):
    """The bytes of one connection."""

    address: str
    taken: int = 0  # not answered, free ones included
    charged: int = 0  # beyond the free ones


class Ledger:
    """The bytes of all connections of an endpoint."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._of_address: Counter[str] = Counter()  # charged to connections that are open
        self._left = 0  # charged to those that have ended, and not freed yet
        self._stored = 0  # of both, free ones included
        self._saved_s, self._saved_at = BURST_S, time.monotonic()  # time for walks

    def take(self, account: Account, size: int) -> None:
        """The connection sent `size` bytes."""
        self._set(account, account.taken + size)

    def answer(self, account: Account, size: int) -> None:
        """A request of `size` bytes was answered; as many may come again."""
        self._set(account, max(0, account.taken - size))

    def leave(self, account: Account) -> None:
        """The connection ends; what is stored for it stays until `forget`."""
        self._charge(account.address, -account.charged)
        self._left += account.charged
        if self.budget.stored:
            self._saved_s -= WALK_S * self._stored

    def forget(self, account: Account) -> None:
        """What was stored for a connection that has left is gone."""
        self._left -= account.charged
        self._stored -= account.taken

    def _set(self, account: Account, taken: int) -> None:
        charged = max(0, taken - self.budget.free)
        self._charge(account.address, charged - account.charged)
        self._stored += taken - account.taken
        account.taken, account.charged = taken, charged

    def _charge(self, address: str, more: int) -> None:
        self._of_address[address] += more
        if not self._of_address[address]:
            del self._of_address[address]

    def over_budget(
        self, account: Account, others: Iterable[Account]
    ) -> tuple[Account, str] | None:
        """The connection to end because `account` sent something, and why.

        `others` are the open ones, with `account`.
        """
        if account.charged > self.budget.each:
            return account, "sends without end"
        if self._of_address[account.address] > self.budget.address:
            theirs = (each for each in others if each.address == account.address)
            return _largest(theirs), "is one of many that send too much"
        if self._of_address.total() > self.budget.all:
            return _largest(others), "sends a lot, while all send too much"
        return None

    def may_open(self) -> bool:
        """Whether there is room for another connection, and time for the end of one."""
        now = time.monotonic()
        self._saved_s = min(BURST_S, self._saved_s + SHARE * (now - self._saved_at))
        self._saved_at = now
        return self._saved_s > 0 and self._of_address.total() + self._left <= self.budget.all


def _largest(accounts: Iterable[Account]) -> Account:
    return max(accounts, key=lambda each: each.charged)
