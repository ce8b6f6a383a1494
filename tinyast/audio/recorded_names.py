"""Times in the names of recordings, as recorders and programs write them.

| written by | example |
| --- | --- |
| AudioMoth, Song Meter 2 to 4, Mini and Micro, Swift | `S4A09132_20230801_053000.wav` |
| Song Meter 3 | `PREFIX_0+1_20230801$053000.wav` |
| Frontier Labs BAR, BirdNET-Go | `20230801T053000+1000_REC.wav`, `robin_20240601T053000Z.wav` |
| AudioMoth before firmware 1.2 | `5CEFA1B8.WAV`: seconds since 1970, hexadecimal |
| the same, with a zone in words | `20230801_053000_UTC.wav`, `20230801_053000_GMT-5.wav` |
| recorders with a clock of 12 hours | `2023-08-01 05-30-00 PM.wav` |
| ffmpeg's strftime, ISO 8601 | `2023-08-01_05-30-00.wav`, `2023-08-01T05:30:00+02:00.wav` |
| BirdNET-Pi | `2023-08-01-birdnet-RTSP_1-05:30:00.wav` |
| Zoom, Tascam | `230801_053000.wav` |
| Tascam, Olympus | `230801_0012.wav`: a date and a number |

A number that is no date, such as a device's, is passed over; so is one that lies inside longer
digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from msgspec import Struct

# Plausible years of files from recorders with a clock.
_YEARS = range(1990, 2100)
_DATE = r"(?P<Y>\d{4})(?P<m>\d\d)(?P<d>\d\d)"
_SHORT_DATE = r"(?P<y>\d\d)(?P<m>\d\d)(?P<d>\d\d)"
_TIME = r"(?P<H>\d\d)(?P<M>\d\d)(?P<S>\d\d)"
_SPACED_TIME = r"(?P<H>\d\d)[:.\-_h](?P<M>\d\d)[:.\-_m](?P<S>\d\d)s?"
_FRACTION = r"(?:[.,](?P<f>\d{1,6})(?!\d))?"
_NOON = r"(?:[ _]?(?P<noon>[AaPp])[Mm](?![A-Za-z\d]))?"
_UTC = r"Z(?![A-Za-z])|(?:UTC|GMT)(?:[+-]\d{1,2}(?::?\d\d)?)?(?![A-Za-z\d])"
# A bare minus is an offset only behind a time that a T marks: elsewhere it leads to a number.
_ZONE = rf"(?:[_ ]?(?P<z>{_UTC}|\+\d\d:?(?:\d\d)?(?!\d)))?"
_ISO_ZONE = rf"(?:(?P<z>{_UTC}|[+-]\d\d:?(?:\d\d)?(?!\d)))?"
# Texts, which `re` compiles at the first name: that takes milliseconds of every start.
_PATTERNS = tuple(
    r"(?<!\d)" + pattern + r"(?!\d)"
    for pattern in (
        _DATE + "T" + _TIME + _FRACTION + _ISO_ZONE,
        _DATE + r"[_\- $]?" + _TIME + _FRACTION + _ZONE,
        r"(?P<Y>\d{4})([-._/])(?P<m>\d\d)\2(?P<d>\d\d)[T]" + _SPACED_TIME + _FRACTION + _ISO_ZONE,
        r"(?P<Y>\d{4})([-._/])(?P<m>\d\d)\2(?P<d>\d\d)"
        r"(?:-birdnet-(?:[A-Za-z0-9]+_\d+-)?|[_ \-]{1,3})"
        + _SPACED_TIME + _FRACTION + _NOON + _ZONE,
        r"(?P<Y>\d{4})([-._])(?P<m>\d\d)\2(?P<d>\d\d)[T_ \-]" + _TIME + _FRACTION + _ZONE,
        _TIME + r"[_\- ]" + _DATE,
        r"(?P<one>\d\d)([-._])(?P<two>\d\d)\2(?P<Y>\d{4})[T_ \-]{1,3}" + _SPACED_TIME + _NOON,
        r"(?P<one>\d\d)([-._])(?P<two>\d\d)\2(?P<Y>\d{4})[T_ \-]{1,3}" + _TIME + _NOON,
        _SHORT_DATE + r"[_\-]" + _TIME,
    )
)  # fmt: skip
_DATES = tuple(
    r"(?<!\d)" + pattern + r"(?!\d)"
    for pattern in (
        _DATE, r"(?P<Y>\d{4})([-._])(?P<m>\d\d)\2(?P<d>\d\d)", _SHORT_DATE + r"_\d{3,4}"
    )
)  # fmt: skip
_HEXADECIMAL = r"(?=[0-9]*[A-F])[0-9A-F]{8}"
_FIRST_HEXADECIMAL, _LAST_HEXADECIMAL = 0x5900_0000, 0x7000_0000  # April 2017 to July 2029


class NamedTime(Struct, frozen=True):
    """A time that a name gives."""

    at: datetime  # with a time zone
    other: datetime | None = None  # another reading: the month before the day
    is_date: bool = False  # the name gives no time of day


def named_time(name: str, zone: tzinfo) -> NamedTime | None:
    """The time in a file's name, by the table above; `zone` is that of times without an offset."""
    stem = name.rpartition(".")[0] or name
    if re.fullmatch(_HEXADECIMAL, stem):
        seconds = int(stem, 16)
        if _FIRST_HEXADECIMAL <= seconds < _LAST_HEXADECIMAL:
            return NamedTime(datetime.fromtimestamp(seconds, UTC))
    for pattern in _PATTERNS:
        for match in re.finditer(pattern, name):
            if found := list(_readings(match.groupdict(), zone)):
                return NamedTime(found[0], found[1] if len(found) > 1 else None)
    for pattern in _DATES:
        for match in re.finditer(pattern, stem):
            if found := list(_readings(match.groupdict(), zone)):
                return NamedTime(found[0], is_date=True)
    return None


def by_pattern(name: str, pattern: str, zone: tzinfo) -> NamedTime | None:
    """The time in a name by a pattern with the groups Y, m, d, H, M, S and z, those of strftime."""
    for match in re.finditer(pattern, name):
        groups = {"Y": "0", "m": "1", "d": "1", **match.groupdict()}
        for found in _readings(groups, zone, range(1, 10_000)):
            return NamedTime(found)
    return None


def _readings(
    groups: dict[str, str | None], zone: tzinfo, years: range = _YEARS
) -> Iterator[datetime]:
    """The times that groups of a pattern can mean, the likelier first."""
    year = int(groups.get("Y") or 0) if groups.get("y") is None else 2000 + int(groups["y"] or 0)
    days = [(groups.get("m"), groups.get("d"))]
    if groups.get("one") is not None:
        days = [(groups["two"], groups["one"]), (groups["one"], groups["two"])]
    seen = set()
    for month, day in days:
        hour, minute, second = (int(groups.get(key) or 0) for key in "HMS")
        if (noon := groups.get("noon")) and 1 <= hour <= 12:
            hour = hour % 12 + (12 if noon in "Pp" else 0)
        micros = int((groups.get("f") or "0").ljust(6, "0"))
        try:
            offset = _offset(groups.get("z"), zone)
            date = year, int(month or 1), int(day or 1)
            at = datetime(*date, hour, minute, second, micros, offset)
        except (ValueError, OverflowError):  # no time after all: a number that looks like one
            continue
        if year in years and at not in seen:
            seen.add(at)
            yield at


def _offset(text: str | None, zone: tzinfo) -> tzinfo:
    """`Z`, `UTC`, `+10`, `UTC-5`, `+1000` or `+10:00` as a time zone; `zone` without one.

    Raises ValueError for an offset that no place on earth has.
    """
    if not text:
        return zone
    text = text.removeprefix("UTC").removeprefix("GMT").replace(":", "")
    if text in ("", "Z"):
        return UTC
    hours, minutes = (int(text[1:-2]), int(text[-2:])) if len(text) > 3 else (int(text[1:]), 0)
    if hours > 14 or minutes not in (0, 15, 30, 45):
        raise ValueError(f"no offset: {text}")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)
