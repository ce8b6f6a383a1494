"""What the capture process writes and the daemon reads: a stream of small binary messages.

Each is a header (kind, length of what follows) and a body; numbers are little-endian.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinyast.arrays import Float

_HEADER = struct.Struct("<cI")
_BLOCK = struct.Struct("<d?")


@dataclass(frozen=True)
class Hello:
    """The stream is open."""

    device: str
    rate: int  # Hz
    channels: int  # downmixed in what follows


@dataclass(frozen=True)
class Block:
    """Frames in the order in which they were captured."""

    at: float  # steady.clock() in the callback, when the last of them was there
    overflow: bool  # PortAudio says that frames before these were lost
    samples: Float  # mono


@dataclass(frozen=True)
class Missed:
    """Frames before the next block that found no room on the way here."""

    frames: int


@dataclass(frozen=True)
class Failure:
    """Why there is no sound; the last message of a stream."""

    code: str
    text: str


Item = Hello | Block | Missed | Failure


def write(fd: int, item: Item) -> None:
    """Write one message. Raises BrokenPipeError where nobody reads any more."""
    match item:
        case Block(at, overflow, samples):
            kind, body = b"B", _BLOCK.pack(at, overflow) + samples.tobytes()
        case Hello(device, rate, channels):
            kind, body = b"H", json.dumps([device, rate, channels]).encode()
        case Missed(frames):
            kind, body = b"M", struct.pack("<Q", frames)
        case Failure(code, text):
            kind, body = b"F", json.dumps([code, text]).encode()
    data = memoryview(_HEADER.pack(kind, len(body)) + body)
    while data:
        data = data[os.write(fd, data) :]


class Parser:
    """Puts messages together from the pieces that a pipe gives."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Item]:
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._buffer)
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            yield _parse(kind, body)


def _parse(kind: bytes, body: bytes) -> Item:
    match kind:
        case b"B":
            at, overflow = _BLOCK.unpack_from(body)
            return Block(at, overflow, np.frombuffer(body, np.float32, offset=_BLOCK.size))
        case b"H":
            return Hello(*json.loads(body))
        case b"M":
            return Missed(*struct.unpack("<Q", body))
        case b"F":
            return Failure(*json.loads(body))
    raise ValueError(f"unknown kind of message {kind!r}")
