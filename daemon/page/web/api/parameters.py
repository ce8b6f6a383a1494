"""Query parameters of the API, and the errors of a request that does not fit."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request

from daemon.errors import DaemonError
from daemon.page.store.filter import Filter

Query = TypeVar("Query", bound=Struct)
Milliseconds = Annotated[int, Meta(ge=0, le=2**52)]
Score = Annotated[float, Meta(ge=0, le=1)]
Name = Annotated[str, Meta(max_length=200)]
Number = Annotated[int, Meta(ge=1, le=2**52)]
Limit = Annotated[int, Meta(ge=1, le=1000)]
Join = Annotated[
    bool,
    Meta(description="Neighbours of one label are one row; for raven, audacity, kaleidoscope"),
]
Separate = Annotated[
    bool,
    Meta(description="A zip with a table for each recording; for raven, audacity, kaleidoscope"),
]
Day = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d$", description="a date such as 2026-05-31")]
Zone = Annotated[
    str,
    Meta(
        max_length=64,
        pattern=r"^[A-Za-z0-9_+/-]+$",
        description="a time zone such as Europe/Berlin",
    ),
]


class Listed(Struct, frozen=True, forbid_unknown_fields=True):
    """Query parameters that choose predictions. Times are ms since 1970, of the recording."""

    since: Milliseconds | None = None
    until: Milliseconds | None = None
    label: Name | None = None
    source: Name | None = None
    daemon: Number | None = None
    decision: Literal["accepted", "rejected"] | None = None
    min_score: Score | None = None
    max_score: Score | None = None
    text: Name | None = None
    limit: Limit = 100
    before_at: Milliseconds | None = None  # with `before`: where the previous answer ended
    before: Number | None = None

    def filter(self) -> Filter:
        names = Filter.__struct_fields__
        return Filter(**{name: getattr(self, name) for name in names})


class Exported(Listed, frozen=True, forbid_unknown_fields=True):
    """Query parameters of an export, which has no pages."""

    format: Literal["csv", "jsonl", "parquet", "raven", "audacity", "kaleidoscope"] = "csv"
    join: Join = False
    separate: Separate = False


class Limited(Struct, frozen=True, forbid_unknown_fields=True):
    """Query parameter of a list without other filters."""

    limit: Limit = 100


class Span(Struct, frozen=True, forbid_unknown_fields=True):
    """Query parameters of sums over days."""

    day: Day | None = None
    days: Annotated[int, Meta(ge=1, le=400)] = 1
    zone: Zone = "UTC"
    label: Name | None = None
    source: Name | None = None
    daemon: Number | None = None

    def where(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise BadRequest(f"zone: there is no time zone {self.zone!r}") from error

    def last(self) -> date:
        """The day; today by default. Raises BadRequest."""
        if self.day is None:
            return datetime.now(self.where()).date()
        try:
            day = date.fromisoformat(self.day)
        except ValueError as error:
            raise BadRequest(f"day: {self.day!r} is not a date such as 2026-05-31") from error
        if not 1971 <= day.year <= 2100:
            raise BadRequest("day: the year is from 1971 to 2100")
        return day


class Scored(Span, frozen=True, forbid_unknown_fields=True):
    """Query parameters of a label's scores."""

    threshold: Score | None = None  # by default that of the newest prediction


class BadRequest(DaemonError):
    """A request that does not fit; the text says why."""


class NotFound(DaemonError):
    """There is no such thing."""


def parameters(request: Request, kind: type[Query]) -> Query:
    """The query as a struct. Raises BadRequest."""
    try:
        return msgspec.convert(dict(request.query_params), kind, strict=False)
    except msgspec.ValidationError as error:
        raise misfit(error, kind) from error


def body(content: bytes, kind: type[Query]) -> Query:
    """The body of a request as a struct. Raises BadRequest."""
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise misfit(error, kind) from error


def misfit(error: msgspec.DecodeError, kind: type[Struct]) -> BadRequest:
    """Which parameter or field does not fit, and what it may be; msgspec gives only types."""
    known = schemas(kind)
    if unknown := re.search(r"unknown field `(.*)`", str(error), re.DOTALL):
        return BadRequest(f"there is no `{unknown[1]}`; known are {', '.join(known)}")
    if found := re.search(r"(?:at `\$\.|required field `)(\w+)`$", str(error)):
        return BadRequest(f"`{found[1]}` is {_allowed(known[found[1]])}")
    return BadRequest(f"the body is a JSON object with {', '.join(known)}")


def schemas(kind: type[Struct]) -> dict[str, dict[str, Any]]:
    """The JSON Schema of each parameter, which is left out rather than null."""
    _, components = msgspec.json.schema_components([kind])
    return {
        name: next(
            (each for each in schema.get("anyOf", ()) if each != {"type": "null"}),
            {key: value for key, value in schema.items() if key != "default"},
        )
        for name, schema in components[kind.__name__]["properties"].items()
    }


def _allowed(schema: dict[str, Any]) -> str:
    match schema:
        case {"enum": choices}:
            return f"one of {', '.join(choices)}"
        case {"type": "boolean"}:
            return "true or false"
        case {"type": "integer" | "number" as kind, "minimum": least, "maximum": most}:
            return f"{'a whole number' if kind == 'integer' else 'a number'} from {least} to {most}"
        case {"type": "string", "description": words}:
            return str(words)
        case {"type": "string", "maxLength": most}:
            return f"text of at most {most} characters"
    return "text"
