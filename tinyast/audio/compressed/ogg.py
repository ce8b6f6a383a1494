"""Where the streams of an Ogg file begin: several may follow one another (RFC 3533, 6)."""

from __future__ import annotations

from msgspec import Struct

from tinyast.audio.content import Content

_HEAD = 27  # bytes of a page before its table of segments
_BEGINS = 0x02  # flag of the first page of a stream


class Streams(Struct, frozen=True):
    """Streams of a file, one after the other."""

    starts: tuple[int, ...]  # byte offsets
    missing: int  # bytes that the last page promises and the file does not have


def find_streams(file: Content) -> Streams:
    """Walk over the pages of an Ogg file, to its end or to the first bytes that are no page."""
    starts: list[int] = []
    at, begins = 0, False
    while len(head := file.read(_HEAD + 255, at)) >= _HEAD and head[:4] == b"OggS":
        before, begins = begins, bool(head[5] & _BEGINS)
        if begins and not before:  # those that begin together are heard together
            starts.append(at)
        at += _HEAD + head[26] + sum(head[_HEAD : _HEAD + head[26]])
    return Streams(tuple(starts), max(0, at - file.size))
