"""The time of a recording: from its metadata, its name or its modification time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from msgspec import Struct

from daemon.errors import SettingsError
from daemon.settings.schema import Folder
from tinyast.audio.recorded_names import NamedTime, by_pattern, named_time
from tinyast.audio.wav.metadata import Metadata

# File systems and headers can hold times outside the range of datetime.
_EARLIEST, _LATEST = -62_000_000_000.0, 253_000_000_000.0  # years 5 and 9987
DOUBT_S = 60.0  # two sources that differ by more disagree
AUTO = "auto"  # `time_pattern` for the table of names that recorders write
# With or without seconds, tenths and an offset: GUANO, wamd and BEXT.
_ISO = r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)? ?(Z|[+-]\d\d:?\d\d)?"
# AudioMoth: "Recorded at 05:30:00 01/08/2023 (UTC+2) by AudioMoth …"
_AUDIOMOTH = (
    r"Recorded at (\d\d):(\d\d):(\d\d)(?:\.\d+)? (\d\d)/(\d\d)/(\d{4})"
    r"(?: \(UTC(?:([+-])(\d{1,2})(?::(\d\d))?)?\))?"
)


class Said(Struct, frozen=True):
    """A time at which one source says that a recording began."""

    at: float  # s since 1970
    clock: str  # bext, guano, wamd, ixml, comment, name or mtime
    has_zone: bool = True  # it states its time zone, and does not depend on `time_zone`


class Began(Struct, frozen=True):
    """When a recording began."""

    at: float  # s since 1970, at the first sample
    clock: str  # the source that says so
    doubt: Said | None = None  # another source that disagrees by over a minute


def zone(name: str) -> tzinfo:
    """The named time zone. Raises SettingsError for one that the system does not know."""
    if name.upper() == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # most settings need no rules of zones

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingsError(
            f"`time_zone` is `{name}`, which this system does not know; use a name like "
            "`Europe/Berlin`, or UTC"
        ) from error


def began(
    path: bytes, mtime_ns: int, duration_s: float, metadata: Metadata, folder: Folder
) -> Began:
    """When the recording `path` began, by the best of its sources, and one that disagrees.

    A source that states its time zone is better than one that does not; then metadata come before
    the name, and that before the modification time. The recorder modifies a file when it writes
    the last sample, so the duration is subtracted. Copying changes that time, so it casts no doubt
    on others; but a name with a date alone casts doubt on it.
    """
    local = zone(folder.time_zone)
    said = [found for found in _said(metadata, local) if _EARLIEST <= found.at <= _LATEST]
    name = os.fsdecode(os.path.basename(path))
    dated: Said | None = None
    if (named := time_in_name(name, folder, local)) is not None:
        at = Said(named.at.timestamp(), "name", named.at.tzinfo is not local)
        if named.is_date:
            dated = at
        elif _EARLIEST <= at.at <= _LATEST:
            said.append(at)
            if named.other is not None:
                said.append(Said(named.other.timestamp(), "name", has_zone=False))
    said.sort(key=lambda found: not found.has_zone)
    if said:
        best = said[0]
        doubts = (found for found in said[1:] if abs(found.at - best.at) > DOUBT_S)
        return Began(best.at, best.clock, next(doubts, None))
    modified = min(max(mtime_ns / 1e9 - duration_s, _EARLIEST), _LATEST)
    if dated is None or _date(modified, local) == _date(dated.at, local):
        return Began(modified, "mtime")
    return Began(modified, "mtime", dated)


def time_in_name(name: str, folder: Folder, local: tzinfo) -> NamedTime | None:
    """The time that a file's name says, as these settings read names."""
    if folder.time_pattern == AUTO:
        return named_time(name, local)
    return by_pattern(name, folder.time_pattern, local) if folder.time_pattern else None


def _said(metadata: Metadata, local: tzinfo) -> Iterator[Said]:
    """The times in each kind of metadata, the most reliable first."""
    texts = (
        ("bext", f"{metadata.bext_date} {metadata.bext_time}"),
        ("guano", metadata.guano.get("Timestamp", "")),
        ("wamd", metadata.wamd.get("timestamp", "")),
        ("ixml", _ixml(metadata.ixml)),
    )
    for clock, text in texts:
        if (match := re.fullmatch(_ISO, text.strip())) is not None:
            *parts, offset = match.groups()
            yield from _time(clock, [int(part or 0) for part in parts], _zone(offset), local)
    if (match := re.search(_AUDIOMOTH, metadata.comment)) is not None:
        hour, minute, second, day, month, year, sign, hours, minutes = match.groups()
        offset = UTC if "(UTC" in match[0] else None
        if sign is not None:
            offset = _zone(f"{sign}{int(hours):02}{minutes or '00'}")
        numbers = [int(part) for part in (year, month, day, hour, minute, second)]
        yield from _time("comment", numbers, offset, local)


def _time(clock: str, parts: list[int], offset: tzinfo | None, local: tzinfo) -> Iterator[Said]:
    try:
        at = datetime(*parts, tzinfo=offset or local)  # type: ignore[misc,arg-type]
        yield Said(at.timestamp(), clock, offset is not None)
    except (ValueError, OverflowError):  # a date that is not in the calendar
        return


def _zone(text: str | None) -> tzinfo | None:
    if text is None or text == "Z":
        return None if text is None else UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(-offset if text[0] == "-" else offset) if offset < timedelta(days=1) else None


def _ixml(text: str) -> str:
    """The date and time of origination in an iXML chunk, as in BEXT."""
    date = re.search(r"<BWF_ORIGINATION_DATE>\s*([\d-]+)", text)
    time = re.search(r"<BWF_ORIGINATION_TIME>\s*([\d:]+)", text)
    return f"{date[1]} {time[1]}" if date and time else ""


def _date(at: float, local: tzinfo) -> tuple[int, int, int]:
    moment = datetime.fromtimestamp(at, local)
    return moment.year, moment.month, moment.day
