"""The end of a WAV file's samples, whatever its sizes say and whatever follows them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from sounds import header
from test_audio import chunk, fmt, pcm16, recording, refused, walked, wav_of

from tinyast.audio.decoding import Recording

GUANO = chunk(
    b"guan", b"GUANO|Version: 1.0\nMake: Test\nTimestamp: 2026-05-01T05:30:00+02:00\n" * 10
)
LISTED = chunk(b"LIST", b"INFOICMT" + struct.pack("<I", 64) + b"nothing was heard".ljust(64, b"\0"))
SOUND = pcm16(1_000)


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def data(body: bytes, size: int | None = None) -> bytes:
    return b"data" + struct.pack("<I", len(body) if size is None else size) + body


def unread(sound: Recording) -> int:
    """Bytes that follow its samples, by its own words."""
    if sound.defect is None:
        return 0
    assert sound.defect.code == "unread_data"
    return int(str(sound.defect).split()[0])


def frames(path: Path, content: bytes) -> tuple[int, int]:
    """Frames and unread bytes of a file with this content."""
    path.write_bytes(content)
    with recording(path) as sound:
        return sound.frames, unread(sound)


@pytest.mark.parametrize("behind", [GUANO, LISTED, GUANO + LISTED, chunk(b"wamd", bytes(40))])
@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF])
@pytest.mark.parametrize("riff_size", [None, 0, 0xFFFF_FFFF])
def test_metadata_alone_are_no_sound(
    tmp_path: Path, behind: bytes, size: int, riff_size: int | None
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(riff(chunk(b"fmt ", fmt()), data(b"", size), behind, size=riff_size))
    assert refused(path).code == "too_short"


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF])
@pytest.mark.parametrize("riff_size", [None, 0, 0xFFFF_FFFF])
def test_metadata_behind_sound_of_unknown_length_are_no_sound(
    tmp_path: Path, size: int, riff_size: int | None
) -> None:
    whole = riff(chunk(b"fmt ", fmt()), data(SOUND, size), GUANO, LISTED, size=riff_size)
    assert frames(tmp_path / "a.wav", whole) == (1_000, 0)


def test_a_tag_behind_the_end_that_riff_gives_is_no_sound(tmp_path: Path) -> None:
    whole = riff(chunk(b"fmt ", fmt()), data(SOUND, 0xFFFF_FFFF)) + b"TAG".ljust(128, b"x")
    assert frames(tmp_path / "a.wav", whole) == (1_000, 0)


def test_sound_behind_a_size_that_is_too_small_is_counted_as_unread(tmp_path: Path) -> None:
    whole = riff(chunk(b"fmt ", fmt()), data(SOUND, 400), size=436)
    assert frames(tmp_path / "a.wav", whole) == (200, 1_600)


@pytest.mark.parametrize(
    "behind",
    [
        b"",
        GUANO,
        LISTED + GUANO,
        bytes(3),
        bytes(100_000),
        b"TAG".ljust(128, b"x"),
        b"ID3\4" + bytes(50),
        chunk(b"zzzz", b"of another program") + bytes(512),
    ],
)
def test_chunks_tags_and_padding_behind_the_samples_are_no_loss(
    tmp_path: Path, behind: bytes
) -> None:
    whole = riff(chunk(b"fmt ", fmt()), data(SOUND)) + behind
    assert frames(tmp_path / "a.wav", whole) == (1_000, 0)


def test_a_large_picture_behind_sound_of_unknown_length_is_no_sound(tmp_path: Path) -> None:
    picture = chunk(b"id3 ", b"ID3\4" + bytes(range(256)) * 1_000)
    whole = riff(chunk(b"fmt ", fmt()), data(SOUND, 0), picture)
    assert frames(tmp_path / "a.wav", whole) == (1_000, 0)


@pytest.mark.parametrize(
    "joined",
    [riff(chunk(b"fmt ", fmt()), data(SOUND)), data(SOUND), LISTED + data(SOUND)],
    ids=["another file", "another data chunk", "one behind metadata"],
)
def test_more_sound_behind_the_samples_is_counted_as_unread(tmp_path: Path, joined: bytes) -> None:
    whole = riff(chunk(b"fmt ", fmt()), data(SOUND)) + joined
    more = len(joined) - (len(LISTED) if joined.startswith(LISTED) else 0)
    assert frames(tmp_path / "a.wav", whole) == (1_000, more)


def test_an_empty_data_chunk_hides_no_sound(tmp_path: Path) -> None:
    whole = riff(chunk(b"fmt ", fmt()), data(b""), data(SOUND))
    assert frames(tmp_path / "a.wav", whole)[0] >= 1_000


def test_a_size_that_wrapped_at_4_gb_is_completed(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    length = 2**32 + 8_000
    with path.open("wb") as file:
        file.write(header(length % 2**32, channels=2, bits=32, rate=384_000))
        file.seek(44 + length - 4)
        file.write(b"last")  # the rest takes no room on disk
    with recording(path) as sound:
        assert (sound.frames, unread(sound)) == (length // 8, 0)
        assert sound.read(sound.frames - 1, sound.frames)[0] != 0


def test_an_odd_chunk_without_its_padding_is_stepped_over(tmp_path: Path) -> None:
    unpadded = b"guan" + struct.pack("<I", 29) + b"x" * 29
    whole = riff(chunk(b"fmt ", fmt()), unpadded, data(SOUND))
    assert frames(tmp_path / "a.wav", whole) == (1_000, 0)
    behind = riff(chunk(b"fmt ", fmt(bits=8)), data(SOUND[:1_001]), GUANO)
    assert frames(tmp_path / "a.wav", behind) == (1_001, 0)


def test_a_header_still_being_written_promises_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_of(chunk(b"fmt ", fmt())) + b"da")
    assert walked(path) is None
