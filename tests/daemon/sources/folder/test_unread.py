"""A folder says once which kinds of sound it passes over, and what to do about it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daemon.settings.schema import Folder
from daemon.sources.folder.disposal import Disposal
from daemon.sources.folder.scan import Scope, Walk


def test_sound_of_another_format_gets_one_line_a_kind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.wav", "b.flac", "c.FLAC", "d.m4a", "e.aiff", "notes.txt", "f.flac.part"):
        (tmp_path / name).touch()
    folder = Folder(path=str(tmp_path))
    walk = Walk(Scope(os.fsencode(tmp_path), folder, Disposal(folder)))
    assert list(walk) == [os.fsencode(tmp_path / "a.wav")]
    assert walk.ignored["suffix"] == 5
    said = sorted(record.getMessage().split(" is ignored", 1)[1] for record in caplog.records)
    assert len(said) == 3
    assert said[0].endswith(
        "each other .aiff file; to have them classified, convert such files to WAV or FLAC"
    )
    assert '.flac file; to have them classified, add "flac" to `formats`' in said[1]
    assert 'add "m4a" to `formats`' in said[2]


def test_folders_of_deleted_files_are_hidden() -> None:
    scope = Scope(b"/r", Folder(path="/r", recursive=True))
    for name in (b".Trash-1000", b"$RECYCLE.BIN", b"#recycle", b"@eaDir", b"a/lost+found"):
        assert scope.ignores(b"/r/" + name + b"/a.wav") == "hidden"
        assert not scope.enters(b"/r/" + name)
    assert scope.ignores(b"/r/recycled/a.wav") is None
    assert scope.ignores(b"/r/#recycle.wav") is None
    assert scope.enters(b"/r/a")


def test_a_folder_that_reads_them_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "b.flac").touch()
    folder = Folder(path=str(tmp_path), formats=("wav", "flac"))
    assert len(list(Walk(Scope(os.fsencode(tmp_path), folder, Disposal(folder))))) == 1
    assert caplog.records == []


def test_the_state_directory_in_a_watched_folder_is_left_alone(tmp_path: Path) -> None:
    """It holds sound that the daemon kept of microphones."""
    root, state = os.fsencode(tmp_path), os.fsencode(tmp_path / "state")
    folder = Folder(path=str(tmp_path), recursive=True, formats=("flac",))
    for path in (tmp_path / "state" / "clips" / "a.flac", tmp_path / "state-of-art" / "b.flac"):
        path.parent.mkdir(parents=True)
        path.touch()
    other = os.fsencode(tmp_path / "state-of-art" / "b.flac")
    scope = Scope(root, folder, state=state)
    assert list(Walk(scope)) == [other]
    assert scope.is_own(state + b"/clips/a.flac")
    assert not scope.is_own(other)
    inside = Scope(state + b"/clips", folder, state=state)
    assert not inside.is_own(state + b"/clips/a.flac"), "a folder in it that is watched is read"
