"""A training that continues from the model of another run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace as changed
from test_training import TINY, clips

from tinyast.features.log_mel import FeatureSettings
from tinyast.training.distillation import Teacher
from tinyast.training.loop import TrainingError, predict, train
from tinyast.training.start import StartError, start

SETTINGS = FeatureSettings()
LABELS = ("a", "b")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """The model of a short training."""
    recipe = changed(TINY, epochs=2)
    return Teacher(train(tmp_path_factory.mktemp("a"), recipe, SETTINGS, LABELS, clips()), SETTINGS)


def test_starts_with_that_model_s_weights(first: Teacher, tmp_path: Path) -> None:
    spectra = clips().spectra
    expected = predict(first.model, spectra, SETTINGS)
    other_seed = changed(TINY, seed=7)
    model, _, _ = start(other_seed, SETTINGS, LABELS, spectra, None, first)
    np.testing.assert_array_equal(predict(model, spectra, SETTINGS), expected)
    plain, _, _ = start(other_seed, SETTINGS, LABELS, spectra, None)
    assert np.abs(predict(plain, spectra, SETTINGS) - expected).max() > 1e-3
    slow = changed(other_seed, epochs=1, learning_rate=1e-8)
    went_on = train(tmp_path, slow, SETTINGS, LABELS, clips(), begin=first)
    np.testing.assert_allclose(predict(went_on, spectra, SETTINGS), expected, atol=0.1)


def test_a_run_has_one_start(first: Teacher, tmp_path: Path) -> None:
    once = changed(TINY, epochs=1)
    train(tmp_path, once, SETTINGS, LABELS, clips(), begin=first)
    with pytest.raises(TrainingError, match="a run with other start; choose another folder"):
        train(tmp_path, once, SETTINGS, LABELS, clips())


def test_refuses_what_does_not_fit(first: Teacher) -> None:
    spectra = clips().spectra
    with pytest.raises(StartError, match="another network than that of the recipe: use the"):
        start(changed(TINY, hidden_size=8), SETTINGS, LABELS, spectra, None, first)
    narrower = replace(SETTINGS, fmax=4_000.0)
    with pytest.raises(StartError, match="sees another picture than the recipe's"):
        start(TINY, narrower, LABELS, spectra, None, first)
