"""The stream from the capture process to the daemon: MessagePack messages, each after its length.

`Item` is a tagged union; msgspec encodes and checks it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

import msgspec
import numpy as np

Samples = np.ndarray[tuple[int], np.dtype[np.float32]]

_LENGTH = struct.Struct("<I")  # bytes of the message that follows


class Input(msgspec.Struct, frozen=True):
    """One input of the sound system."""

    index: int  # PortAudio's
    name: str
    channels: int
    rate: float  # Hz
    default: bool


class StreamRequest(msgspec.Struct, frozen=True):
    """What a stream's capture process reads on standard input, as JSON.

    A command line would show the URL, with its password, to all users of the machine.
    """

    url: str
    format: str | None  # ffmpeg's name of raw samples; None: the stream has a header
    rate: int  # Hz, of raw samples
    channels: int  # of raw samples
    channel: int  # one that is needed, from 1; 0: none in particular


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The stream is open."""

    device: str
    rate: int  # Hz
    channels: int  # in the blocks that follow


class Block(msgspec.Struct, frozen=True, array_like=True, tag=True, eq=False):
    """Frames in the order of capture."""

    at: float  # clock() in the callback, when the last frame had arrived
    overflow: bool  # PortAudio reports that frames before these were lost
    samples: np.ndarray[tuple[int], np.dtype[np.float32]]  # of all channels, interleaved


class Missed(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Frames before the next block that the capture process had to drop."""

    frames: int


class Failure(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Why there is no sound; the last message of a stream."""

    code: str
    text: str


Item = Hello | Block | Missed | Failure


def _to_bytes(samples: object) -> memoryview:
    return np.ascontiguousarray(samples, dtype=np.float32).data.cast("B")


def _from_bytes(_: type, data: bytes) -> Samples:
    return np.frombuffer(data, np.float32)


_encoder = msgspec.msgpack.Encoder(enc_hook=_to_bytes)
_decoder = msgspec.msgpack.Decoder(Item, dec_hook=_from_bytes)


def write(fd: int, item: Item) -> None:
    """Write one message. Raises BrokenPipeError if the reader has gone."""
    body = _encoder.encode(item)
    data = memoryview(_LENGTH.pack(len(body)) + body)
    while data:
        data = data[os.write(fd, data) :]


class Parser:
    """Assembles messages from the pieces that a pipe delivers."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Item]:
        """Yield the messages that `data` completes. Raises msgspec.DecodeError for other bytes."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield _decoder.decode(body)
