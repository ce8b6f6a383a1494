"""Reading data sets: what is accepted, and how plainly a bad one is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tinyast.datasets import read_dataset
from tinyast.errors import DataError
from tinyast.features import FeatureSettings
from tinyast.spectra import VariantSettings, clip_spectra, dataset_spectra
from tinyast.splits import split_by_fold, split_few

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


def test_reads_esc50(esc50: Path) -> None:
    dataset = read_dataset(esc50)
    assert len(dataset) == 1600
    assert len(dataset.labels) == 50
    assert dataset.labels[0] == "dog"
    training, testing = split_by_fold(dataset, 4)
    assert (len(training), len(testing)) == (1200, 400)
    assert set(dataset.folds[testing]) == {4}
    few, held = split_few(dataset, 400, 10, seed=0)
    assert (len(few), len(held)) == (400, 10)
    assert not set(dataset.folds[few]) & set(dataset.folds[held])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "cannot be read as CSV"),
        ("filename,label\n", "lists no clips"),
        ("name,kind\na.wav,dog\n", "needs the columns"),
        ("filename,label\ngone.wav,dog\n", "names 1 clips that are not there, first gone.wav"),
    ],
)
def test_refuses_a_bad_csv(folder: Path, content: str, says: str) -> None:
    (folder / "metadata.csv").write_text(content)
    with pytest.raises(DataError, match=says):
        read_dataset(folder)


def test_refuses_a_folder_without_csv(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is this the data set's folder"):
        read_dataset(tmp_path)


def test_refuses_a_fold_that_is_not_there(folder: Path) -> None:
    with pytest.raises(DataError, match="the folds are 0, 1"):
        split_by_fold(read_dataset(folder), 7)


def test_refuses_to_keep_more_than_there_is(folder: Path) -> None:
    with pytest.raises(DataError, match="too few"):
        split_few(read_dataset(folder), 2, 10, seed=0)


def test_names_the_clip_that_cannot_be_read(folder: Path) -> None:
    (folder / "clip2.wav").write_bytes(b"not a sound")
    dataset = read_dataset(folder)
    with pytest.raises(DataError, match=r"clip2\.wav"):
        dataset_spectra(dataset, SETTINGS, VariantSettings(1, 1.0, 0.0), folder / "cache", 1)
    assert list((folder / "cache").iterdir()) == []


def test_spectra_are_computed_once_and_stay_the_same(folder: Path) -> None:
    dataset, how = read_dataset(folder), VariantSettings(3, 1.25, 0.5)
    first = np.array(dataset_spectra(dataset, SETTINGS, how, folder / "cache", 1))
    (made,) = (folder / "cache").iterdir()
    written = made.stat().st_mtime_ns
    again = dataset_spectra(dataset, SETTINGS, how, folder / "cache", 1)
    by_processes = dataset_spectra(dataset, SETTINGS, how, folder / "another", workers=2)
    np.testing.assert_array_equal(first, by_processes)
    assert made.stat().st_mtime_ns == written
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first[2], clip_spectra(dataset.paths[2], SETTINGS, how))
    assert first.shape == (4, 3, 64, 64)
    assert np.isfinite(first).all()
    assert (first >= 0).all()
