"""Unpacking a zip that is not trusted, and checking that ESC-50 is whole."""

from __future__ import annotations

import io
import random
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tinyast.data.archive import ArchiveError, unpack, verify, verify_names
from tinyast.data.datasets import read_dataset
from tinyast.errors import DataError


@pytest.fixture(scope="module")
def archive(esc50: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A zip laid out like the public one, with a clip of each kind and fold."""
    path = tmp_path_factory.mktemp("archive") / "esc50.zip"
    command = [sys.executable, str(esc50 / "make_archive.py"), str(path), "--per-class", "1"]
    subprocess.run(command, check=True, capture_output=True)
    return path.read_bytes()


def packed(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()


def test_whole_archive(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(archive)
    (tmp_path / "esc50.part").mkdir()  # of a run that was killed
    (tmp_path / "esc50.part" / "stray").write_bytes(b"")
    unpack(tmp_path / "a.zip", tmp_path / "esc50")
    assert len(read_dataset(tmp_path / "esc50")) == 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "esc50"]


def test_corrupt_zip(archive: bytes, tmp_path: Path) -> None:
    broken = bytearray(archive)
    broken[len(broken) // 2] ^= 0xFF
    for content in (bytes(broken), archive[: len(archive) // 2], b""):
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(ArchiveError, match="not a whole zip"):
            unpack(tmp_path / "a.zip", tmp_path / "esc50")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "C:\\evil", "..\\evil"])
def test_no_path_leads_out(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.zip").write_bytes(packed(**{name: b"x"}))
    with pytest.raises(DataError, match="leads out"):
        unpack(tmp_path / "a.zip", tmp_path / "esc50")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_rows_and_clips_must_match(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(archive)
    unpack(tmp_path / "a.zip", tmp_path / "esc50")
    clips = sorted((tmp_path / "esc50" / "audio").iterdir())
    assert verify(tmp_path / "esc50", "here") == 200
    clips[0].rename(clips[0].with_name("stray.wav"))
    with pytest.raises(DataError, match="1 rows have no clip"):
        verify(tmp_path / "esc50", "here")
    (tmp_path / "esc50" / "audio" / "stray.wav").rename(clips[0])
    (tmp_path / "esc50" / "audio" / "stray.wav").write_bytes(clips[0].read_bytes())
    with pytest.raises(DataError, match="1 clips have no row: stray"):
        verify(tmp_path / "esc50", "here")
    (tmp_path / "esc50" / "audio" / "stray.wav").unlink()
    clips[5].write_bytes(b"not a sound")
    with pytest.raises(DataError, match="1 clips cannot be read"):
        verify(tmp_path / "esc50", "here")


def test_any_broken_byte_of_a_zip_is_told_plainly(tmp_path: Path) -> None:
    """Flags, offsets and methods that make `zipfile` raise other errors."""
    whole = packed(**{f"a/{number}.txt": bytes(range(200)) for number in range(3)})
    chance = random.Random(0)
    for _ in range(500):
        broken = bytearray(whole)
        broken[chance.randrange(len(broken))] = chance.randrange(256)
        (tmp_path / "a.zip").write_bytes(broken)
        with pytest.raises(DataError):  # whole or not, it is not ESC-50
            unpack(tmp_path / "a.zip", tmp_path / "esc50")
        assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_no_symbolic_link(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("a/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(ArchiveError, match="symbolic link"):
        unpack(tmp_path / "a.zip", tmp_path / "esc50")


def test_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(9):
            file.writestr(f"a/{number}", bytes(1 << 20))
    monkeypatch.setattr("tinyast.data.archive.MOST_BYTES", 8 << 20)
    with pytest.raises(ArchiveError, match="which is not ESC-50"):
        unpack(tmp_path / "a.zip", tmp_path / "esc50")
    monkeypatch.setattr("tinyast.data.archive.MOST_BYTES", 8 << 30)
    monkeypatch.setattr("tinyast.data.archive.MOST_FILES", 8)
    with pytest.raises(ArchiveError, match="9 files, which is not ESC-50"):
        unpack(tmp_path / "a.zip", tmp_path / "esc50")


def test_a_full_disk_is_no_fault_of_the_zip(tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "a.zip").write_bytes(packed(**{"a/b": bytes(2 << 20)}))
    with pytest.raises(DataError, match="make room") as raised:
        unpack(tmp_path / "a.zip", small_disk / "esc50")
    assert not isinstance(raised.value, ArchiveError)
    assert list(small_disk.iterdir()) == []


def test_what_is_there_is_checked_by_name_without_reading_it(
    archive: bytes, tmp_path: Path
) -> None:
    (tmp_path / "a.zip").write_bytes(archive)
    unpack(tmp_path / "a.zip", tmp_path / "esc50")
    clips = sorted((tmp_path / "esc50" / "audio").iterdir())
    clips[0].write_bytes(b"not a sound")
    assert len(verify_names(tmp_path / "esc50", "here")) == 200
    clips[0].unlink()
    with pytest.raises(ArchiveError, match="here: 1 rows have no clip"):
        verify_names(tmp_path / "esc50", "here")
