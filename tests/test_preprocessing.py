"""Pictures on disk: done once, done again only where a clip changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from tinyast.datasets import read_dataset
from tinyast.errors import DataError
from tinyast.features import FeatureSettings, log_mel
from tinyast.preprocessing import preprocess
from tinyast.spectra import load_clip

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
