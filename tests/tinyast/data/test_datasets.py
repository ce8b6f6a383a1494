"""Reading data sets: good ones, and plain errors about bad ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tinyast.data.datasets import read_dataset
from tinyast.data.spectrograms import Spectra, clip_spectra, dataset_spectra
from tinyast.data.variation import VariantSettings
from tinyast.errors import DataError
from tinyast.features.log_mel import FeatureSettings

SETTINGS = FeatureSettings()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four short clips of two kinds, in two folds, laid out as any folder may be."""
    rows = ["filename,label,fold"]
    for number in range(4):
        name = f"clip{number}.wav"
        tone = np.sin(np.arange(8000) * (0.1 + 0.1 * number))
        soundfile.write(tmp_path / name, 0.3 * tone, 16_000)
        rows.append(f"{name},{'low' if number < 2 else 'high'},{number % 2}")
    (tmp_path / "metadata.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_reads_a_folder_of_ones_own(folder: Path) -> None:
    dataset = read_dataset(folder)
    assert dataset.labels == ("high", "low")
    assert [dataset.labels[target] for target in dataset.targets] == ["low", "low", "high", "high"]
    assert [path.name for path in dataset.paths] == [f"clip{n}.wav" for n in range(4)]


def test_reads_what_spreadsheets_write(folder: Path) -> None:
    text = "\ufefffilename , label,fold\r\nclip0.wav, None,1\r\n clip1.wav,nan ,2\r\n"
    (folder / "metadata.csv").write_text(text, encoding="utf-8", newline="")
    dataset = read_dataset(folder)
    assert dataset.labels == ("None", "nan")
    assert dataset.folds.tolist() == [1, 2]


def test_a_clip_is_the_one_at_its_path_or_the_only_one_of_its_name(folder: Path) -> None:
    for name in ("door", "kettle"):
        (folder / name).mkdir()
    (folder / "clip0.wav").rename(folder / "door" / "01.wav")
    (folder / "clip1.wav").rename(folder / "kettle" / "02.wav")
    (folder / "clip2.wav").rename(folder / "kettle" / "clip3.wav")
    rows = "filename,label\ndoor/01.wav,door\n02.flac,kettle\nclip3.wav,door\n"
    (folder / "metadata.csv").write_text(rows)
    found = [str(path.relative_to(folder)) for path in read_dataset(folder).paths]
    assert found == ["door/01.wav", "kettle/02.wav", "clip3.wav"]


def test_two_clips_of_one_name_are_refused_not_mixed_up(folder: Path) -> None:
    for name in ("door", "kettle"):
        (folder / name).mkdir()
        (folder / name / "01.wav").write_bytes((folder / "clip0.wav").read_bytes())
    rows = "filename,label\ndoor/01.wav,door\nkettle/01.wav,kettle\n"
    (folder / "metadata.csv").write_text(rows)
    with pytest.raises(DataError, match=r"lists 01 twice .*door/01.wav and .*kettle/01.wav"):
        read_dataset(folder)
    (folder / "metadata.csv").write_text("filename,label\n01.wav,door\n")
    with pytest.raises(DataError, match=r"names 01\.wav, which may be"):
        read_dataset(folder)


def test_refuses_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        read_dataset(tmp_path / "nowhere")


def test_reads_esc50(esc50: Path) -> None:
    dataset = read_dataset(esc50)
    assert len(dataset) == 1600
    assert len(dataset.labels) == 50
    assert dataset.labels[0] == "dog"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "cannot be read as CSV"),
        ("filename,label\n", "lists no clips"),
        ("name,kind\na.wav,dog\n", "needs the columns"),
        ("filename,label\ngone.wav,dog\n", "names 1 clips that are not there, first gone.wav"),
        ("filename;label\nclip0.wav;dog\n", "separated by commas; it has filename;label"),
        ("filename,label\nclip0.wav,dog,1\n", "more values than its first line has names"),
        ("filename,label\nclip0.wav,\n", "clip 1 of 1 has no label"),
        ("filename,label\nclip0.wav,dog\n,cat\n", "clip 2 of 2 has no filename"),
        ("filename,label,fold\nclip0.wav,dog,one\n", "fold is a whole number, and clip0.wav has"),
        ("filename,label,fold\nclip0.wav,dog,\n", "fold is a whole number"),
        ("filename,label,target\nclip0.wav,dog,x\n", "target is a whole number"),
        ("filename,label\nclip0.wav,dog\nclip0.wav,cat\n", "lists clip0 twice"),
        ("filename,label\n\xff.wav,dog\n", "cannot be read as CSV"),
    ],
)
def test_refuses_a_bad_csv(folder: Path, content: str, says: str) -> None:
    (folder / "metadata.csv").write_text(content, encoding="latin-1")
    with pytest.raises(DataError, match=says):
        read_dataset(folder)


def test_refuses_a_folder_without_csv(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is this the data set's folder"):
        read_dataset(tmp_path)


def test_names_the_clip_that_cannot_be_read(folder: Path) -> None:
    (folder / "clip2.wav").write_bytes(b"not a sound")
    dataset = read_dataset(folder)
    with pytest.raises(DataError, match=r"clip2\.wav"):
        dataset_spectra(dataset, SETTINGS, VariantSettings(1, 1.0, 0.0, 0.0), folder / "cache", 1)
    assert list((folder / "cache").iterdir()) == []


def test_spectra_are_computed_once_and_stay_the_same(folder: Path) -> None:
    dataset, how = read_dataset(folder), VariantSettings(3, 1.25, 0.5, 0.5)
    (first,) = dataset_spectra(dataset, SETTINGS, how, folder / "cache", 1).files
    (made,) = (folder / "cache").iterdir()
    written = made.stat().st_mtime_ns
    (again,) = dataset_spectra(dataset, SETTINGS, how, folder / "cache", 1).files
    (by_processes,) = dataset_spectra(dataset, SETTINGS, how, folder / "another", 2).files
    np.testing.assert_array_equal(first, by_processes)
    assert made.stat().st_mtime_ns == written
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first[2], clip_spectra(dataset.paths[2], SETTINGS, how))
    assert first.shape == (4, 3, 64, 64)
    assert np.isfinite(first).all()
    assert (first >= 0).all()


def test_spectra_of_two_files_are_read_as_one() -> None:
    one, other = (np.random.default_rng(seed).random((4, 3, 2, 2), np.float32) for seed in (0, 1))
    both = Spectra.of(one).take(np.array([3, 0])) + Spectra.of(other[:, :2])
    assert (len(both), both.variants) == (6, 3)
    np.testing.assert_array_equal(both.plain(), np.concatenate([one[[3, 0], 0], other[:, 0]]))
    found = both.power(np.array([5, 0, 5]), np.array([1, 2, 2]))
    np.testing.assert_array_equal(found, [other[3, 1], one[3, 2], other[3, 0]])
    kept = both.take(np.array([False, True, False, False, False, True]))
    np.testing.assert_array_equal(kept.plain(slice(1, 2)), other[[3], 0])


def test_a_full_disk_is_told_and_leaves_no_spectra(folder: Path, small_disk: Path) -> None:
    how = VariantSettings(24, 1.0, 0.0, 0.0)
    with pytest.raises(DataError, match=r"cannot write .*: No space left on device"):
        dataset_spectra(read_dataset(folder), SETTINGS, how, small_disk, workers=1)
    assert list(small_disk.iterdir()) == []
