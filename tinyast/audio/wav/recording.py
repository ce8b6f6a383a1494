"""WAV recordings, decoded from the bytes that exist."""

from __future__ import annotations

from functools import cached_property

from tinyast.arrays import Float
from tinyast.audio.channels import Channel, read_one_channel
from tinyast.audio.content import Content
from tinyast.audio.samples import check_encoding, decode
from tinyast.audio.wav.header import extent, read_header
from tinyast.audio.wav.metadata import Metadata, read_metadata
from tinyast.errors import AudioError


class Wav:
    """A WAV recording.

    Raises AudioError `not_audio`, `bad_header`, `unsupported_encoding` or `too_short`.
    """

    format = "wav"

    def __init__(self, file: Content, channel: Channel) -> None:
        header = read_header(file)
        if header is None:
            raise AudioError("too_short", "it ends before its samples begin")
        check_encoding(header)
        self._file, self._header, self._channel = file, header, channel
        self._extent = extent(file, header)
        self.rate, self.channels = header.rate, header.channels
        align = header.block_align
        self.frames = self._extent.data_bytes // align if align else 0

    @property
    def defect(self) -> AudioError | None:
        if missing := self._header.missing(self._file.size):
            return AudioError(
                "cut_short", f"its header promises {missing} bytes more than there are"
            )
        if not self._extent.unread:
            return None
        return AudioError(
            "unread_data",
            f"{self._extent.unread} bytes follow its samples and were not read as sound: its "
            "header may be older than they are, or recordings were joined",
        )

    @cached_property
    def metadata(self) -> Metadata:
        order = ">" if self._header.big_endian else "<"
        return read_metadata(self._file, (*self._header.before, *self._extent.after), order)

    def read(self, start: int, end: int) -> Float:
        return read_one_channel(self._decode, start, end, self.channels, self._channel)

    def _decode(self, start: int, end: int) -> Float:
        align = self._header.block_align
        wanted = (end - start) * align
        data = self._file.view(wanted, self._header.data_start + start * align)
        if len(data) < wanted:
            raise AudioError("decode_error", f"it ends before frame {end}")
        return decode(data, self._header).reshape(-1, self.channels)
