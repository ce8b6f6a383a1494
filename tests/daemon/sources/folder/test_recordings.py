from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from daemon.commands.batch.finding import find, left_out
from daemon.settings.schema import Folder
from daemon.sources.folder.recordings import Recordings

FOLDER = Folder(path=".", recursive=True)


def fail(directory: bytes, error: OSError) -> None:
    raise error


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Names whose order changes if `/` is not taken into account, and every kind to leave out."""
    for name in ("a.wav", "a/x.wav", "a/b/y.wav", "a-.wav", "a0.wav", "B.WAV", "a/c.flac", "d.ogg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in (".hidden.wav", ".hidden.flac", "x.flac.part", "notes.txt", "bad.wma"):
        (tmp_path / name).touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "z.flac").touch()
    (tmp_path / "folder.flac").mkdir()
    (tmp_path / "link.wav").symlink_to("a.wav")
    (tmp_path / "link.flac").symlink_to("a/c.flac")
    (tmp_path / "a" / "up").symlink_to("..")
    os.mkfifo(tmp_path / "pipe.wav")
    return tmp_path


def test_recordings_come_in_the_order_of_their_paths(tree: Path) -> None:
    walk = Recordings(FOLDER, fail)
    found = [entry.path for entry in walk.under(bytes(tree))]
    assert found == sorted(found)
    names = [os.fsdecode(path.removeprefix(bytes(tree) + b"/")) for path in found]
    assert names == ["B.WAV", "a-.wav", "a.wav", "a/b/y.wav", "a/x.wav", "a0.wav"]
    assert (walk.special, walk.unread) == (2, {".flac": 1, ".ogg": 1})


def test_each_folder_is_listed_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: Counter[str] = Counter()
    scandir = os.scandir

    def counting(path: bytes) -> object:
        listed[os.fsdecode(path)] += 1
        return scandir(path)

    monkeypatch.setattr("os.scandir", counting)
    found = find([tree / "a", tree, tree / "a" / "b", tree], FOLDER)
    assert len(found.files) == 6
    said = list(left_out(found.walk))
    assert [words.split(";")[0] for words in said] == [
        "left out: 2 links, pipes and devices in folders",
        "left out: 1 .flac, 1 .ogg",
    ]
    assert listed == Counter({str(tree / name): 1 for name in ("", "a", "a/b", "folder.flac")})


def test_a_walk_holds_one_folder_at_a_time(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first recordings come before later folders are listed."""
    listed: list[str] = []
    scandir = os.scandir

    def noting(path: bytes) -> object:
        listed.append(os.fsdecode(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", noting)
    walk = Recordings(FOLDER, fail).under(bytes(tree))
    assert next(walk).name == b"B.WAV"
    assert listed == [str(tree)]
    assert [entry.name for entry in walk][-1] == b"a0.wav"
    assert len(listed) == 4


def test_a_folder_that_goes_is_skipped_and_another_fault_is_passed_on(tree: Path) -> None:
    faults: list[tuple[bytes, OSError]] = []
    recordings = Recordings(FOLDER, lambda *fault: faults.append(fault))
    walk = recordings.under(bytes(tree))
    next(walk)
    (tree / "a" / "b" / "y.wav").unlink()
    (tree / "a" / "b").rmdir()
    assert [entry.name for entry in walk] == [b"a-.wav", b"a.wav", b"x.wav", b"a0.wav"]
    assert faults == []
    gone = tree / "none"
    assert list(recordings.under(bytes(gone))) == []
    [(path, error)] = faults
    assert (path, type(error)) == (bytes(gone), FileNotFoundError)
