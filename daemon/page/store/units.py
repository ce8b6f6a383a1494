"""How the page's store writes numbers and times, and reads those of messages."""

from __future__ import annotations

import struct
from datetime import datetime
from typing import TypeVar

from msgspec import UnsetType

Value = TypeVar("Value")

MILLION = 1_000_000
QUARTER_MS = 900_000
MINUTE_MS = 60_000
DAY_MS = 86_400_000
TOP = struct.Struct("<HI")


def ms(stamp: str) -> int:
    """An RFC 3339 time as milliseconds since 1970."""
    return round(1000 * datetime.fromisoformat(stamp).timestamp())


def known(value: Value | UnsetType) -> Value:
    """A field that every published message has. Raises ValueError without it."""
    if isinstance(value, UnsetType):
        raise ValueError("the message was never published")
    return value
