"""The clips that a folder or a CSV names, and errors about a CSV that makes no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinyast.errors import DataError
from tinyast.learning.clips import Clip, read_clips


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_a_sub_folder_for_each_kind(tmp_path: Path) -> None:
    touch(tmp_path, "kettle/1.wav", "kettle/deep/2.FLAC", "none/3.m4a", "none/4.ogg")
    touch(tmp_path, "kettle/.hidden.wav", "kettle/notes.txt", ".cache/5.wav", "loose.wav")
    touch(tmp_path, "kettle/.trash/6.wav", "none /7.wav")
    found = [(clip.label, clip.path.name) for clip in read_clips(tmp_path)]
    assert found == [
        ("kettle", "1.wav"), ("kettle", "2.FLAC"), ("none", "3.m4a"), ("none", "4.ogg"),
        ("none", "7.wav"),
    ]  # fmt: skip


def test_a_table_may_name_parts_and_recordings(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.flac")
    (tmp_path / "labels.csv").write_text(
        "file,label,recording,start_s,end_s\na.wav,kettle,monday,2.5,7\nb.wav, kettle,,,\n"
    )
    one, two = read_clips(tmp_path)
    assert one == Clip(tmp_path / "a.wav", "kettle", "monday", 2.5, 7.0)
    assert two == Clip(tmp_path / "b.flac", "kettle", str(tmp_path / "b.flac"))
    assert read_clips(tmp_path / "labels.csv") == [one, two]


@pytest.mark.parametrize("text", [
    "filename , label \n1.wav,x,\n2.wav,x,,,\n",
    "filename;label;\n1.wav;x\n2.wav;x\n",
    "\ufefffilename\tlabel\n1.wav\tx\n2.wav\tx\n",
])  # fmt: skip
def test_tables_as_spreadsheets_write_them(tmp_path: Path, text: str) -> None:
    touch(tmp_path, "1.wav", "2.wav")
    (tmp_path / "metadata.csv").write_text(text)
    assert [(clip.label, clip.path.name) for clip in read_clips(tmp_path)] == [
        ("x", "1.wav"), ("x", "2.wav"),
    ]  # fmt: skip


def test_clips_that_share_a_fold_are_one_recording(tmp_path: Path) -> None:
    touch(tmp_path, "1.wav", "2.wav")
    (tmp_path / "metadata.csv").write_text("filename,label,fold\n1.wav,x,3\n2.wav,x,3\n")
    assert [clip.recording for clip in read_clips(tmp_path)] == ["3", "3"]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", "lists no clips"),
        ("filename,label\n", "lists no clips"),
        ("filename,kind\n1.wav,x\n", "add label"),
        ("filename,label\n1.wav,\n", "line 2: the label is empty"),
        ("filename,label\n1.wav,x\n,x\n", "line 3: the filename is empty"),
        ("filename,label\n9.wav,x\n", "there is no file"),
        ("filename,label\n.,x\n", "there is no file"),
        ("filename,label\n..,x\n", "there is no file"),
        ("filename,label,start_s\n1.wav,x,soon\n", "'soon' is not a time"),
        ("filename,label,start_s,end_s\n1.wav,x,4,2\n", "not after"),
        ("filename,label\n1.wav,x\n", "single clip of 'x'"),
        ("filename,label\n\udcff.wav,x\n", "is not a CSV in UTF-8"),
    ],
)
def test_a_table_that_makes_no_sense(tmp_path: Path, table: str, words: str) -> None:
    touch(tmp_path, "1.wav")
    (tmp_path / "metadata.csv").write_bytes(table.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=words):
        read_clips(tmp_path)


def test_a_folder_without_clips_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="make a sub-folder for each kind"):
        read_clips(tmp_path)
    with pytest.raises(DataError, match="there is no folder"):
        read_clips(tmp_path / "gone")
    touch(tmp_path, "kettle/1.wav")
    with pytest.raises(DataError, match="single clip of 'kettle'"):
        read_clips(tmp_path)
