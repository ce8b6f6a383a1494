"""Metadata that recorders write into a WAV file: time, place and device.

It reads `bext` (EBU Tech 3285), `guan` (GUANO 1.0), `wamd` (Wildlife Acoustics), `iXML` (1.61) and
the comment and artist of a LIST/INFO chunk, which AudioMoths write.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from msgspec import Struct, field

from tinyast.audio.wav.header import Bytes, Chunk

_MOST = 1 << 16  # bytes read of one chunk: notes are short
_WAMD_TEXTS = {
    0x01: "model", 0x02: "serial", 0x05: "timestamp", 0x06: "position", 0x14: "position",
    0x15: "temperature_inside", 0x16: "temperature_outside",
}  # fmt: skip


class Metadata(Struct, frozen=True):
    """Texts of a WAV file's chunks, as written there; empty without them."""

    bext_date: str = ""  # yyyy-mm-dd
    bext_time: str = ""  # hh:mm:ss
    bext_originator: str = ""
    guano: dict[str, str] = field(default_factory=dict)  # by key, with its namespace
    wamd: dict[str, str] = field(default_factory=dict)  # model, serial, timestamp, position, …
    ixml: str = ""
    comment: str = ""
    artist: str = ""


NO_METADATA = Metadata()


def read_metadata(file: Bytes, chunks: Iterable[Chunk], order: str = "<") -> Metadata:
    """The metadata in `chunks`; `order` is "<" or ">". What cannot be read is left out."""
    found: dict[str, object] = {}
    for chunk in chunks:
        read = _READERS.get(chunk.name)
        if read is not None:
            found.update(read(file.read(min(chunk.length, _MOST), chunk.start), order))
    return Metadata(**found)  # type: ignore[arg-type]


def _bext(body: bytes, order: str) -> dict[str, object]:
    # 256 bytes description, 32 originator, 32 reference, then the date (10) and time (8).
    if len(body) < 338:
        return {}
    return {
        "bext_originator": _text(body[256:288]),
        "bext_date": _text(body[320:330]).translate(_DASHES),
        "bext_time": _text(body[330:338]).translate(_COLONS),
    }


_DASHES = str.maketrans(":_ .", "----")  # EBU allows any of - _ : space and . between numbers
_COLONS = str.maketrans("-_ .", "::::")


def _guano(body: bytes, order: str) -> dict[str, object]:
    lines = body.decode("utf-8", "replace").strip("\0 ").splitlines()
    pairs = (line.partition(":") for line in lines)
    return {"guano": {key.strip(): value.strip() for key, colon, value in pairs if colon}}


def _wamd(body: bytes, order: str) -> dict[str, object]:
    # Entries of an identifier (2 bytes), a length (4 bytes) and a text.
    texts, at = {}, 0
    while at + 6 <= len(body):
        key, length = struct.unpack_from("<HI", body, at)
        at += 6
        if key in _WAMD_TEXTS:
            texts[_WAMD_TEXTS[key]] = _text(body[at : at + length])
        at += length
    return {"wamd": texts}


def _ixml(body: bytes, order: str) -> dict[str, object]:
    return {"ixml": _text(body)}


def _info(body: bytes, order: str) -> dict[str, object]:
    if body[:4] != b"INFO":
        return {}
    texts, at = {}, 4
    while at + 8 <= len(body):
        name, length = struct.unpack_from(order + "4sI", body, at)
        if name in _INFO:
            texts[_INFO[name]] = _text(body[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    return dict(texts)


def _text(body: bytes) -> str:
    return body.partition(b"\0")[0].decode("utf-8", "replace").strip()


_INFO = {b"ICMT": "comment", b"IART": "artist"}
_READERS = {b"bext": _bext, b"guan": _guano, b"wamd": _wamd, b"iXML": _ixml, b"LIST": _info}
