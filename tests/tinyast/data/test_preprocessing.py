"""Pictures on disk: done once, done again only if a clip changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import ROOT
from sounds import write_wav

from tinyast.data.datasets import read_dataset
from tinyast.data.preprocessing import Made, preprocess
from tinyast.data.spectrograms import load_clip
from tinyast.errors import DataError
from tinyast.features.log_mel import FeatureSettings, log_mel

SETTINGS = FeatureSettings()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three clips at 22.05 kHz and a CSV without folds."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(3):
        tone = 0.1 * np.sin(np.arange(30_000) * (0.05 + 0.1 * number))
        soundfile.write(folder / f"{number}.wav", tone, 22_050)
    (folder / "metadata.csv").write_text("filename,label\n0.wav,a\n1.wav,b\n2.wav,a\n")
    return folder


def test_pictures_are_what_the_model_sees(folder: Path, tmp_path: Path) -> None:
    dataset, output = read_dataset(folder), tmp_path / "out"
    assert preprocess(dataset, SETTINGS, output, workers=1).written == 3
    table = pd.read_csv(output / "metadata.csv")
    assert table["label"].tolist() == ["a", "b", "a"]
    for path, name in zip(dataset.paths, table["filename"], strict=True):
        picture = np.load(output / name)
        np.testing.assert_array_equal(picture, log_mel(load_clip(path, SETTINGS), SETTINGS))


def test_only_what_changed_is_done_again(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    preprocess(read_dataset(folder), SETTINGS, output, workers=1)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    assert preprocess(read_dataset(folder), SETTINGS, output, workers=1).written == 0
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    soundfile.write(folder / "1.wav", 0.1 * np.random.default_rng(0).random(20_000), 22_050)
    assert preprocess(read_dataset(folder), SETTINGS, output, workers=1).written == 1
    assert (output / "1.npy").read_bytes() != before["1.npy"]
    assert (output / "0.npy").read_bytes() == before["0.npy"]


def test_broken_clip_is_named_and_leaves_nothing_of_its_own(folder: Path, tmp_path: Path) -> None:
    (folder / "2.wav").write_bytes(b"not a sound")
    with pytest.raises(DataError, match=r"2\.wav"):
        preprocess(read_dataset(folder), SETTINGS, tmp_path / "out", workers=1)
    assert not [path for path in (tmp_path / "out").iterdir() if path.suffix == ".part"]
    assert not (tmp_path / "out" / "2.npy").exists()


def test_other_settings_need_another_folder(folder: Path, tmp_path: Path) -> None:
    preprocess(read_dataset(folder), SETTINGS, tmp_path / "out", workers=1)
    with pytest.raises(DataError, match="other settings"):
        preprocess(read_dataset(folder), FeatureSettings(n_mels=32), tmp_path / "out", workers=1)


def test_any_number_of_workers_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """Also where BLAS is let loose on two cores, which adds up in another order than on one."""
    for number in range(3):
        write_wav(folder / f"{number}.wav", seed=number)
    for workers in ("1", "2"):
        words = ["--data", str(folder), "--output", str(tmp_path / workers), "--workers", workers]
        subprocess.run(
            [sys.executable, "-m", "scripts.preprocess", *words],
            cwd=ROOT,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},
            check=True,
            capture_output=True,
        )
    made = {path.name for path in (tmp_path / "1").iterdir()}
    assert made == {"0.npy", "1.npy", "2.npy", "metadata.csv", "preprocessor_config.json"}
    for name in made:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


def test_pictures_of_clips_that_are_gone_are_removed(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    preprocess(read_dataset(folder), SETTINGS, output, workers=1)
    (output / "notes.npy").write_bytes(b"of somebody else")
    (folder / "metadata.csv").write_text("filename,label\n0.wav,a\n2.wav,c\n")
    assert preprocess(read_dataset(folder), SETTINGS, output, workers=1) == Made(0, 2, 1)
    assert {path.name for path in output.glob("*.npy")} == {"0.npy", "2.npy", "notes.npy"}
    assert pd.read_csv(output / "metadata.csv")["label"].tolist() == ["a", "c"]


def test_what_was_done_before_a_fault_is_in_the_table(folder: Path, tmp_path: Path) -> None:
    clip = (folder / "2.wav").read_bytes()
    (folder / "2.wav").write_bytes(b"not a sound")
    with pytest.raises(DataError, match=r"2\.wav"):
        preprocess(read_dataset(folder), SETTINGS, tmp_path / "out", workers=1)
    assert pd.read_csv(tmp_path / "out" / "metadata.csv")["source"].tolist() == ["0.wav", "1.wav"]
    (folder / "2.wav").write_bytes(clip)
    assert preprocess(read_dataset(folder), SETTINGS, tmp_path / "out", workers=1).kept == 2


def test_a_table_of_something_else_is_not_overwritten(folder: Path) -> None:
    before = (folder / "metadata.csv").read_bytes()
    with pytest.raises(DataError, match="would be overwritten"):
        preprocess(read_dataset(folder), SETTINGS, folder, workers=1)
    assert (folder / "metadata.csv").read_bytes() == before
    assert {path.suffix for path in folder.iterdir()} == {".wav", ".csv"}


def test_a_folder_that_cannot_be_made_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot make the folder .*file: File exists"):
        preprocess(read_dataset(folder), SETTINGS, tmp_path / "file", workers=1)


def test_a_full_disk_leaves_whole_files_only(folder: Path, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes((1 << 20) - (44 << 10)))
    with pytest.raises(DataError, match=r"cannot write .*: No space left on device"):
        preprocess(read_dataset(folder), SETTINGS, small_disk / "out", workers=1)
    (small_disk / "ballast").unlink()
    assert not list((small_disk / "out").glob("*.part"))
    assert {np.load(path).shape for path in (small_disk / "out").glob("*.npy")} == {(64, 64)}
    assert preprocess(read_dataset(folder), SETTINGS, small_disk / "out", workers=1).written > 0
