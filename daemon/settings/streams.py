"""Check `[[stream]]` tables, and read the URLs that are kept in separate files."""

from __future__ import annotations

import msgspec

from daemon.errors import SettingsError
from daemon.settings.schema import Stream
from daemon.settings.secret_files import SecretFile
from daemon.settings.urls import RAW, problem_with, scheme


def with_url(stream: Stream) -> Stream:
    """The stream with the URL that its `url_file` holds, if it names one.

    Raises SettingsError, StartError.
    """
    if not stream.url_file:
        return stream
    if stream.url:
        raise SettingsError(f"stream `{stream.name}` has both `url` and `url_file`; remove one")
    file = SecretFile(stream.url_file, "url_file", f"stream `{stream.name}`", "the URL")
    return msgspec.structs.replace(stream, url=file.read_line())


def check_streams(streams: tuple[Stream, ...]) -> None:
    """Raise SettingsError about a stream; its text does not hold the URL, which may be secret."""
    for stream in streams:
        if (problem := problem_with(stream.url)) is not None:
            raise SettingsError(f"`url` of stream `{stream.name}` {problem}")
        raw = scheme(stream.url) in RAW
        if raw and not stream.rate:
            raise SettingsError(
                f"stream `{stream.name}` sends samples without a header; give their `rate` in Hz "
                "(and their `channels` and `format`)"
            )
        if not raw and (stream.rate, stream.channels, stream.format) != (0, 1, "s16le"):
            raise SettingsError(
                f"stream `{stream.name}` describes its own format; leave out `rate`, `channels` "
                f"and `format`, which only {' and '.join(f'{each}://' for each in RAW)} need"
            )
        if raw and isinstance(stream.channel, int) and stream.channel > stream.channels:
            raise SettingsError(
                f"stream `{stream.name}` has {stream.channels} channels (setting: channels), so "
                f"there is no channel {stream.channel} (setting: channel)"
            )
