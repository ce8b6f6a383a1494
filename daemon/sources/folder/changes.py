"""The changes that a folder's watch reports."""

from __future__ import annotations

from enum import Enum
from typing import Protocol


class Change(Enum):
    """A kind of change of one file."""

    MADE = "made"  # by its writer, who may still have it open, or by a hard link
    CLOSED = "closed"  # by its writer, or it was moved in
    OTHER = "other"  # such as new permissions, or a request to look


class Listener(Protocol):
    """Takes changes from any thread, and returns at once."""

    def notice(self, path: bytes, change: Change) -> None:
        """Look at one file."""
        ...

    def scan(self, reason: str) -> None:
        """Look at everything: changes were lost, or there were too many to name."""
        ...
