"""Read the header of a WAV file, and find where its samples end.

A walk over the chunks of RIFF, RIFX, RF64 and BW64 (Microsoft's Multimedia Programming Interface
1.0; EBU Tech 3306 for RF64), reading only headers and never past the end of the file. Decoders
either trust the sizes written there or correct them silently; a daemon that watches files grow must
compare the promised size with the actual one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Protocol

from msgspec import Struct

from tinyast.errors import AudioError

PCM, FLOAT, ALAW, MULAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
MAX_CHUNKS = 1_000  # a header with more is not a recording
# Writers that cannot seek back leave 0, the largest size they know, or that less some header.
_LARGEST = ((0x7FFF_0000, 0x8000_1000), (0xFFFF_0000, 0xFFFF_FFFF))
# Chunks that writers put beside the samples. A search without a size looks only for these.
KNOWN = frozenset(
    b"fmt ,fact,data,LIST,list,bext,guan,wamd,iXML,axml,chna,id3 ,ID3 ,cue ,plst,smpl,inst,JUNK,"
    b"junk,PAD ,FLLR,DISP,PEAK,levl,cart,link,umid,minf,elm1,regn,afsp,LGWV,acid,strc,SNDM,_PMX,"
    b"Cr8r,mext,qlty,ds64,note,labl,IDVX,tlst,resu,SAUR,DGDA,MARK,bfmt,wavl,slnt".split(b",")
)
_TAIL = 1 << 16  # bytes at the end of a file to search for padding
# Bytes at the end to search for metadata without a known place: they may hold a picture.
_METADATA = 1 << 23
# These hold sound, or the beginning of another recording that was joined to this one.
_SOUND = frozenset((b"data", b"wavl", b"slnt", b"RIFF", b"RIFX", b"RF64", b"BW64"))


class Bytes(Protocol):
    """The bytes of a file by their place."""

    @property
    def size(self) -> int: ...

    def read(self, length: int, offset: int) -> bytes: ...


class Chunk(Struct, frozen=True):
    """A chunk by its name and the place of its body."""

    name: bytes
    start: int  # byte offset of its body
    length: int  # bytes promised

    @property
    def end(self) -> int:
        return self.start + self.length


class WavHeader(Struct, frozen=True):
    """The format of a WAV file and where its samples lie."""

    big_endian: bool
    encoding: int  # PCM, FLOAT, ALAW or MULAW, or another registered format tag
    channels: int
    rate: int  # Hz
    block_align: int  # bytes in one frame
    bits: int  # bits in one sample
    data_start: int  # byte offset of the first sample
    data_bytes: int | None  # promised bytes of samples; None if the header gives no length
    riff_end: int | None  # byte offset at which the RIFF size says that the file ends, if it does
    before: tuple[Chunk, ...] = ()  # chunks that precede the samples

    def missing(self, size: int) -> int:
        """Bytes promised that a file of `size` bytes does not have yet."""
        if self.data_bytes is None:
            return 0
        return max(0, self.data_start + self.data_bytes - size)


class _Beginning(Struct, frozen=True):
    """The first `size` bytes of a file."""

    file: Bytes
    size: int

    def read(self, length: int, offset: int) -> bytes:
        return self.file.read(max(0, min(length, self.size - offset)), offset)


class Extent(Struct, frozen=True):
    """How far the samples of a WAV file reach."""

    data_bytes: int  # that are there
    after: tuple[Chunk, ...] = ()  # chunks that follow the samples
    unread: int = 0  # bytes that follow and are neither chunks nor padding


def is_wav(head: bytes) -> bool:
    return head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE"


def is_placeholder(data_bytes: int) -> bool:
    return data_bytes == 0 or any(low <= data_bytes <= high for low, high in _LARGEST)


def tag_bytes(file: Bytes) -> int:
    """Length of an ID3v2 tag at the beginning of a file (id3.org, ID3v2.4 3.1); 0 without one."""
    head = file.read(10, 0)
    if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 127:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + size + (10 if head[5] & 0x10 else 0)


def read_header(file: Bytes) -> WavHeader | None:
    """Walk the header of an open WAV file.

    Returns None if the file ends before its `data` chunk begins, as it may while it is written.
    Raises AudioError `not_audio` or `bad_header` for a fault that further bytes cannot fix.
    """
    begin = tag_bytes(file)
    head = file.read(12, begin)
    if len(head) < 12:
        return None
    if not is_wav(head):
        raise AudioError("not_audio", "it does not begin as a WAV file does")
    order = ">" if head[:4] == b"RIFX" else "<"
    (riff_bytes,) = struct.unpack(order + "I", head[4:8])
    wide: int | None = None  # the 64-bit data size of RF64
    before: list[Chunk] = []
    for chunk in _chunks(file, begin + 12, order):
        if chunk.name == b"data":
            promised: int | None = None if is_placeholder(chunk.length) else chunk.length
            if wide is not None and chunk.length == 0xFFFF_FFFF:
                promised = None if wide in (0, 2**64 - 1) else wide
            riff_end = None if is_placeholder(riff_bytes) else begin + 8 + riff_bytes
            return WavHeader(
                order == ">", *_format(file, before, order), chunk.start, promised, riff_end,
                tuple(before),
            )  # fmt: skip
        if chunk.name == b"ds64" and len(sizes := file.read(16, chunk.start)) == 16:
            wide = struct.unpack(order + "8xQ", sizes)[0]
        if chunk.name == b"fmt " and chunk.length < 16:
            raise AudioError("bad_header", f"its fmt chunk has only {chunk.length} bytes")
        before.append(chunk)
    if len(before) >= MAX_CHUNKS:
        raise AudioError("bad_header", f"more than {MAX_CHUNKS} chunks before its samples")
    return None


def extent(file: Bytes, header: WavHeader) -> Extent:
    """The end of the samples in a complete file, and the chunks that follow them.

    Without a size, metadata at the end of the file bound the samples, because they are not sound.
    A size that wrapped at 4 GB is completed.
    """
    order = ">" if header.big_endian else "<"
    start, there = header.data_start, max(0, file.size - header.data_start)
    if header.data_bytes is None:
        riff_end = header.riff_end or 0
        whole = _Beginning(file, riff_end if start < riff_end <= file.size else file.size)
        end = _start_of_metadata(whole, start, order)
        _, unread = _follow(file, whole.size, order)
        return Extent(max(0, end - start), _follow(whole, end, order)[0], unread)
    length = min(header.data_bytes, there)
    after, unread = _follow(file, start + length, order)
    # A 32-bit size counts from 0 again after 4 GB.
    for longer in range(length + 2**32, there + 1, 2**32) if unread else ():
        chunks, rest = _follow(file, start + longer, order)
        if rest == 0:
            return Extent(longer, chunks)
    return Extent(length, after, unread)


def _chunks(file: Bytes, offset: int, order: str) -> Iterator[Chunk]:
    """Chunks from byte `offset` on, until one begins beyond the end of the file."""
    for _ in range(MAX_CHUNKS):
        head = file.read(8, offset)
        if len(head) < 8:
            return
        name, length = struct.unpack(order + "4sI", head)
        chunk = Chunk(name, offset + 8, length)
        yield chunk
        offset = _next(file, chunk)


def _next(file: Bytes, chunk: Chunk) -> int:
    """The start of the next chunk: after a padding byte, which some writers leave out."""
    if chunk.length % 2 == 0:
        return chunk.end
    beside = file.read(5, chunk.end)
    unpadded = beside[:1] != b"\0" and beside[:4] in KNOWN and beside[1:5] not in KNOWN
    return chunk.end if unpadded else chunk.end + 1


def _follow(file: Bytes, end: int, order: str) -> tuple[tuple[Chunk, ...], int]:
    """Chunks that follow samples ending at byte `end`, and the number of other bytes."""
    offset = end
    if end % 2 and file.read(4, end) not in KNOWN:
        offset += 1
    found: list[Chunk] = []
    for chunk in _chunks(file, offset, order):
        if not _is_name(chunk.name) or chunk.name in _SOUND or chunk.end > file.size:
            break
        found.append(chunk)
        offset = min(_next(file, chunk), file.size)
    rest = max(0, file.size - offset)
    return tuple(found), 0 if _means_nothing(file, offset, rest) else rest


def _start_of_metadata(file: Bytes, start: int, order: str) -> int:
    """The start of the final chunks in a file whose samples begin at `start`; else its end."""
    tail = max(start, file.size - _METADATA)
    content = file.read(file.size - tail, tail)
    places = {start}
    for name in KNOWN - _SOUND:
        at = content.find(name)
        while at >= 0:
            places.add(tail + at)
            at = content.find(name, at + 1)
    for place in sorted(places):
        chunks, rest = _follow(file, place, order)
        if chunks and rest == 0 and chunks[0].start == place + 8:
            return place
    return file.size


def _is_name(name: bytes) -> bool:
    return all(0x20 <= byte < 0x7F for byte in name)


def _means_nothing(file: Bytes, offset: int, length: int) -> bool:
    """Whether the `length` bytes at the end of a file are padding, or a tag of another kind."""
    if length < 8:
        return True
    first = file.read(min(length, _TAIL), offset)
    if first.startswith((b"ID3", b"APETAGEX", b"LYRICSBEGIN", b"3DI")):
        return True
    if first.startswith(b"TAG") and length in (128, 355):  # ID3v1, and with its extension
        return True
    return not any(first) and not any(file.read(_TAIL, max(offset, file.size - _TAIL)))


def _format(file: Bytes, chunks: list[Chunk], order: str) -> tuple[int, int, int, int, int]:
    """Encoding, channels, rate, bytes in a frame and bits in a sample, of the last fmt chunk."""
    chunk = next((chunk for chunk in reversed(chunks) if chunk.name == b"fmt "), None)
    if chunk is None:
        raise AudioError("bad_header", "its data chunk comes before any fmt chunk")
    body = file.read(min(chunk.length, 40), chunk.start)
    if len(body) < 16:
        raise AudioError("bad_header", f"its fmt chunk has only {len(body)} bytes")
    encoding, channels, rate, _, block_align, bits = struct.unpack(order + "HHIIHH", body[:16])
    if encoding == EXTENSIBLE and len(body) >= 26:
        encoding = struct.unpack(order + "H", body[24:26])[0]  # the sub-format GUID's first word
    return encoding, channels, rate, block_align, bits
