"""The kinds of values that fields of messages have, as types.

The bounds and patterns stand in the JSON Schema alone. A subscriber that decodes a message does not
check them, so that a later daemon may widen them.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta


def _text(**schema: object) -> Meta:
    return Meta(extra_json_schema=schema)


def one_of(*values: str | None) -> Meta:
    """The values that a field can have today."""
    return Meta(extra_json_schema={"enum": list(values)})


def const(value: object) -> Meta:
    """The one value that a field has."""
    return Meta(extra_json_schema={"const": value})


def at_least(minimum: float) -> Meta:
    return Meta(extra_json_schema={"minimum": minimum})


def more_than(minimum: float) -> Meta:
    return Meta(extra_json_schema={"exclusiveMinimum": minimum})


def between(minimum: float, maximum: float) -> Meta:
    return Meta(extra_json_schema={"minimum": minimum, "maximum": maximum})


def min_items(least: int) -> Meta:
    return Meta(extra_json_schema={"minItems": least})


_UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"

Time = Annotated[str, _text(pattern=_TIME, description="RFC 3339, UTC, to the millisecond")]
Uuid = Annotated[str, _text(pattern=_UUID)]
Hash = Annotated[str, _text(pattern="^[0-9a-f]{32}$")]
Sha256 = Annotated[str, _text(pattern="^[0-9a-f]{64}$")]
Word = Annotated[str, _text(pattern="^[a-z][a-z0-9_]*$")]
Text = Annotated[str, _text(minLength=1)]
Path = Annotated[str, _text(pattern="^/")]
Seconds = Annotated[float, at_least(0)]
Score = Annotated[float, _text(minimum=0, maximum=1)]
Level = Annotated[float, _text(minimum=-200, maximum=130)]  # dBFS
Count = Annotated[int, at_least(0)]
Positive = Annotated[int, at_least(1)]
