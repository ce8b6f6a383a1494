"""Parse a WAV file's header.

A walk over the chunks of RIFF, RIFX, RF64 and BW64 (Microsoft's Multimedia Programming Interface
1.0; EBU Tech 3285 for `bext`, EBU Tech 3306 for RF64), reading only headers and never past the
end of the file. Decoders either trust the sizes written there or correct them silently; a daemon
that watches files grow must compare the promised size with the actual one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tinyast.audio.content import Content
from tinyast.errors import AudioError

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
MAX_CHUNKS = 1_000  # a header with more is not a recording
# Writers that cannot seek back leave 0, the largest size they know, or that less some header.
_LARGEST = ((0x7FFF_0000, 0x8000_1000), (0xFFFF_0000, 0xFFFF_FFFF))


@dataclass(frozen=True)
class Bext:
    """When a broadcast WAV says its first sample was recorded. No time zone is stored."""

    date: str  # yyyy-mm-dd
    time: str  # hh:mm:ss


@dataclass(frozen=True)
class WavHeader:
    """The format of a WAV file and where its samples lie."""

    big_endian: bool
    encoding: int  # PCM or FLOAT, or another registered format tag
    channels: int
    rate: int  # Hz
    block_align: int  # bytes in one frame
    bits: int  # bits in one sample
    data_start: int  # byte offset of the first sample
    data_bytes: int | None  # promised bytes of samples; None if the header gives no length
    bext: Bext | None

    def missing(self, size: int) -> int:
        """Bytes promised that a file of `size` bytes does not have yet."""
        if self.data_bytes is None:
            return 0
        return max(0, self.data_start + self.data_bytes - size)


def is_wav(head: bytes) -> bool:
    return head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE"


def is_placeholder(data_bytes: int) -> bool:
    return data_bytes == 0 or any(low <= data_bytes <= high for low, high in _LARGEST)


def read_header(file: Content) -> WavHeader | None:
    """Walk the header of an open WAV file.

    Returns None if the file ends before its `data` chunk begins, as it may while it is written.
    Raises AudioError `not_audio` or `bad_header` for a fault that further bytes cannot fix.
    """
    head = file.read(12, 0)
    if len(head) < 12:
        return None
    if not is_wav(head):
        raise AudioError("not_audio", "it does not begin as a WAV file does")
    order = ">" if head[:4] == b"RIFX" else "<"
    wide: int | None = None  # the 64-bit data size of RF64
    fmt: tuple[int, int, int, int, int] | None = None
    bext: Bext | None = None
    offset = 12
    for _ in range(MAX_CHUNKS):
        chunk = file.read(8, offset)
        if len(chunk) < 8:
            return None
        name, length = struct.unpack(order + "4sI", chunk)
        body = offset + 8
        if name == b"data":
            if fmt is None:
                raise AudioError("bad_header", "its data chunk comes before any fmt chunk")
            encoding, channels, rate, block_align, bits = fmt
            promised: int | None = None if is_placeholder(length) else length
            if wide is not None and length == 0xFFFF_FFFF:
                promised = None if wide in (0, 2**64 - 1) else wide
            return WavHeader(
                big_endian=order == ">",
                encoding=encoding,
                channels=channels,
                rate=rate,
                block_align=block_align,
                bits=bits,
                data_start=body,
                data_bytes=promised,
                bext=bext,
            )
        if name == b"fmt ":
            if (fmt := _read_fmt(file.read(min(length, 40), body), order)) is None:
                if body + min(length, 16) > file.size:
                    return None
                raise AudioError("bad_header", f"its fmt chunk has only {length} bytes")
        elif name == b"ds64" and len(sizes := file.read(16, body)) == 16:
            wide = struct.unpack(order + "8xQ", sizes)[0]
        elif name == b"bext" and len(origin := file.read(338, body)) == 338:
            bext = _read_bext(origin)
        offset = body + length + length % 2
        if offset >= file.size:
            return None
    raise AudioError("bad_header", f"more than {MAX_CHUNKS} chunks before its samples")


def _read_fmt(body: bytes, order: str) -> tuple[int, int, int, int, int] | None:
    if len(body) < 16:
        return None
    encoding, channels, rate, _, block_align, bits = struct.unpack(order + "HHIIHH", body[:16])
    if encoding == EXTENSIBLE and len(body) >= 26:
        encoding = struct.unpack(order + "H", body[24:26])[0]  # the sub-format GUID's first word
    return encoding, channels, rate, block_align, bits


def _read_bext(body: bytes) -> Bext | None:
    # 256 bytes description, 32 originator, 32 reference, then the date (10) and time (8).
    date = body[320:330].decode("ascii", "replace").replace(":", "-").replace("_", "-")
    time = body[330:338].decode("ascii", "replace").replace("-", ":").replace("_", ":")
    return Bext(date, time) if date.strip("\0 ") else None
