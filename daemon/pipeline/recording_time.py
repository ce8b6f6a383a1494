"""The time of a recording: from its BEXT chunk, its name, or its modification time."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from daemon.errors import SettingsError
from daemon.settings.schema import Folder
from tinyast.audio.wav_header import Bext

# File systems and headers can hold times outside the range of datetime.
_EARLIEST, _LATEST = -62_000_000_000.0, 253_000_000_000.0  # years 5 and 9987


def zone(name: str) -> tzinfo:
    """The named time zone. Raises SettingsError for one that the system does not know."""
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingsError(
            f"`time_zone` is `{name}`, which this system does not know; use a name like "
            "`Europe/Berlin`, or UTC"
        ) from error


def began(
    path: bytes, mtime_ns: int, duration_s: float, bext: Bext | None, folder: Folder
) -> tuple[float, str]:
    """Seconds since 1970 at the first sample, and the source: `bext`, `name` or `mtime`.

    The modification time is that of the last sample, so the duration is subtracted.
    """
    if bext is not None and (stamp := _parse_bext(bext, folder.time_zone)) is not None:
        return stamp, "bext"
    name = os.fsdecode(os.path.basename(path))
    if (stamp := _parse_name(name, folder.time_pattern, folder.time_zone)) is not None:
        return stamp, "name"
    return min(max(mtime_ns / 1e9 - duration_s, _EARLIEST), _LATEST), "mtime"


def _parse_bext(bext: Bext, time_zone: str) -> float | None:
    try:
        stamp = datetime.strptime(f"{bext.date} {bext.time}", "%Y-%m-%d %H:%M:%S")
    except ValueError:
        return None
    return _in_calendar(stamp.replace(tzinfo=zone(time_zone)).timestamp())


def _parse_name(name: str, pattern: str, time_zone: str) -> float | None:
    """A time in a name by the groups Y, m, d, H, M and S of `pattern`, those of strftime."""
    if not pattern or (found := re.search(pattern, name)) is None:
        return None
    groups = found.groupdict()
    try:
        parts = [
            int(groups.get(key) or default)
            for key, default in zip("YmdHMS", (0, 1, 1, 0, 0, 0), strict=True)
        ]
        stamp = datetime(*parts, tzinfo=zone(time_zone))  # type: ignore[misc,arg-type]
    except (ValueError, OverflowError):  # not a time, but a number that looks like one
        return None
    return _in_calendar(stamp.timestamp())


def _in_calendar(stamp: float) -> float | None:
    return stamp if _EARLIEST <= stamp <= _LATEST else None
