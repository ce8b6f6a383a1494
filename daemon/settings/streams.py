"""Check `[[stream]]` tables, and read the URLs that have a file of their own."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

from daemon.errors import SettingsError
from daemon.settings.schema import Stream
from daemon.settings.urls import RAW, problem_with, scheme


def with_url(stream: Stream) -> Stream:
    """The stream with the URL that its `url_file` holds, if it names one. Raises SettingsError."""
    if not stream.url_file:
        return stream
    if stream.url:
        raise SettingsError(f"stream `{stream.name}` has both `url` and `url_file`; remove one")
    file = Path(os.path.expanduser(stream.url_file))
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, encoding="utf-8-sig", errors="replace") as opened:
            mode = os.fstat(fd).st_mode
            line = opened.readline(4_096).strip() if stat.S_ISREG(mode) else ""
    except OSError as error:
        raise SettingsError(
            f"cannot read `url_file` {file} of stream `{stream.name}`: {error.strerror}"
        ) from error
    if mode & 0o077:
        raise SettingsError(
            f"others can read `url_file` {file} of stream `{stream.name}`: chmod 600 {file}"
        )
    if not line:
        raise SettingsError(
            f"the first line of `url_file` {file} of stream `{stream.name}` must hold its URL"
        )
    return msgspec.structs.replace(stream, url=line)


def check_streams(streams: tuple[Stream, ...]) -> None:
    """Raise SettingsError about a stream; its text does not hold the URL, which may be secret."""
    for stream in streams:
        if (problem := problem_with(stream.url)) is not None:
            raise SettingsError(f"`url` of stream `{stream.name}` {problem}")
        raw = scheme(stream.url) in RAW
        if raw and not stream.rate:
            raise SettingsError(
                f"stream `{stream.name}` brings samples without a header; give their `rate` in Hz "
                "(and their `channels` and `format`)"
            )
        if not raw and (stream.rate, stream.channels, stream.format) != (0, 1, "s16le"):
            raise SettingsError(
                f"stream `{stream.name}` says itself what it brings; leave out `rate`, `channels` "
                f"and `format`, which only {' and '.join(f'{each}://' for each in RAW)} need"
            )
        if raw and isinstance(stream.channel, int) and stream.channel > stream.channels:
            raise SettingsError(
                f"stream `{stream.name}` has {stream.channels} channels (setting: channels), so "
                f"there is no channel {stream.channel} (setting: channel)"
            )
