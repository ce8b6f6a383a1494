"""What recorders write beside the samples."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from test_audio import chunk, fmt, pcm16, recording, wav_of

from tinyast.audio.wav.metadata import NO_METADATA, Metadata


def metadata(path: Path, *chunks: bytes, behind: bool = True) -> Metadata:
    """That of a file with these chunks behind its samples, or before them."""
    sound = [chunk(b"fmt ", fmt()), chunk(b"data", pcm16(100))]
    path.write_bytes(wav_of(*(sound + list(chunks) if behind else list(chunks) + sound)))
    with recording(path) as opened:
        return opened.metadata


def bext(date: bytes, time: bytes) -> bytes:
    return chunk(b"bext", (bytes(320) + date + time).ljust(602, b"\0"))


@pytest.mark.parametrize("behind", [True, False])
@pytest.mark.parametrize(
    ("date", "time", "said"),
    [
        (b"2024-03-01", b"12:34:56", ("2024-03-01", "12:34:56")),
        (b"2024:03:01", b"12-34-56", ("2024-03-01", "12:34:56")),  # EBU allows - _ : space .
        (b"2024_03.01", b"12_34.56", ("2024-03-01", "12:34:56")),
        (bytes(10), bytes(8), ("", "")),
    ],
)
def test_a_broadcast_chunk(
    tmp_path: Path, date: bytes, time: bytes, said: tuple[str, str], behind: bool
) -> None:
    found = metadata(tmp_path / "a.wav", bext(date, time), behind=behind)
    assert (found.bext_date, found.bext_time) == said


def test_a_broadcast_chunk_cut_short_says_nothing(tmp_path: Path) -> None:
    assert metadata(tmp_path / "a.wav", chunk(b"bext", bytes(100))) == NO_METADATA


def test_guano_is_read_by_key(tmp_path: Path) -> None:
    text = "GUANO|Version: 1.0\nTimestamp: 2023-08-01T05:30:00+02:00\nOAD|Gain: 2\nNote: é: x\n\0"
    found = metadata(tmp_path / "a.wav", chunk(b"guan", text.encode()))
    assert found.guano == {
        "GUANO|Version": "1.0",
        "Timestamp": "2023-08-01T05:30:00+02:00",
        "OAD|Gain": "2",
        "Note": "é: x",
    }


def test_wamd_is_read_by_number(tmp_path: Path) -> None:
    entries = [(0, b"\1\0"), (1, b"SM4BAT-FS"), (5, b"2019-07-01 22:10:05-05:00"), (0x15, b"21.5C")]
    body = b"".join(struct.pack("<HI", key, len(text)) + text for key, text in entries)
    found = metadata(tmp_path / "a.wav", chunk(b"wamd", body))
    assert found.wamd == {
        "model": "SM4BAT-FS",
        "timestamp": "2019-07-01 22:10:05-05:00",
        "temperature_inside": "21.5C",
    }


def test_comment_and_artist_of_a_list(tmp_path: Path) -> None:
    comment, artist = b"Recorded at 05:30:00 01/08/2023 (UTC)", b"AudioMoth 24E1440319055002"
    body = b"INFO" + chunk(b"ICMT", comment + b"\0") + chunk(b"IART", artist)
    found = metadata(tmp_path / "a.wav", chunk(b"LIST", body), behind=False)
    assert (found.comment, found.artist) == (comment.decode(), artist.decode())


@pytest.mark.parametrize("name", [b"guan", b"wamd", b"iXML", b"LIST", b"bext"])
@pytest.mark.parametrize("body", [b"", b"\xff" * 33, b"INFO" + b"\xff" * 9, bytes(400)])
def test_nonsense_is_no_error(tmp_path: Path, name: bytes, body: bytes) -> None:
    metadata(tmp_path / "a.wav", chunk(name, body))
