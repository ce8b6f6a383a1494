"""Learning from teachers: their scores, a pupil's distance from them, and valid teachers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace as changed
from test_training import TINY, clips

from tinyast.data.spectrograms import Spectra
from tinyast.features.log_mel import FeatureSettings
from tinyast.model.configuration import TinyASTConfig
from tinyast.model.feature_extraction import TinyASTFeatureExtractor
from tinyast.model.modeling import TinyASTForAudioClassification
from tinyast.training.distillation import (
    Teacher,
    TeachingError,
    digest,
    distance,
    load_teacher,
    taught,
)
from tinyast.training.loop import TrainingError, predict, train

SETTINGS = FeatureSettings()
LABELS = ("a", "b")


def untrained(seed: int) -> TinyASTForAudioClassification:
    """An untrained model whose scores are far from even."""
    torch.manual_seed(seed)
    model = TinyASTForAudioClassification(TinyASTConfig(id2label=dict(enumerate(LABELS))))
    model.eval()
    model.classifier.weight.data.mul_(20)
    return model


def teacher(seed: int) -> Teacher:
    return Teacher(untrained(seed), SETTINGS)


def finished_run(folder: Path, one: TinyASTForAudioClassification) -> Path:
    one.save_pretrained(folder / "model")
    TinyASTFeatureExtractor(**SETTINGS.to_dict()).save_pretrained(folder / "model")
    return folder


@pytest.fixture
def spectra() -> Spectra:
    return clips().spectra


def test_teachers_say_the_mean_of_their_scores(spectra: Spectra) -> None:
    models = [untrained(0), untrained(1)]
    each = [torch.from_numpy(predict(one, spectra, SETTINGS) / 2).softmax(1) for one in models]
    assert (each[0] - each[1]).abs().max() > 0.1
    teachers = [Teacher(model, SETTINGS) for model in models]
    torch.testing.assert_close(
        taught(teachers, spectra.plain(), 2.0).scores, (each[0] + each[1]) / 2
    )


def test_a_pupil_that_says_the_same_is_nearest(spectra: Spectra) -> None:
    logits = torch.from_numpy(predict(untrained(0), spectra, SETTINGS))
    scores = taught([teacher(0)], spectra.plain(), 3.0).scores
    same, other = distance(logits, scores, 3.0), distance(logits.flip(1), scores, 3.0)
    assert same < other
    entropy = -(scores * scores.log()).sum(1).mean()
    torch.testing.assert_close(same, entropy * 9)


def test_a_pupil_comes_to_say_what_its_teacher_says(tmp_path: Path, spectra: Spectra) -> None:
    """Which is the reverse of the labels."""
    plain = {"mix": 0.0, "masks": 0, "background": 0.0, "noise": 0.0, "label_smoothing": 0.0}
    recipe = changed(TINY, epochs=30, ema_decay=0.5, learning_rate=2e-3, distil=1.0, **plain)
    knows = train(tmp_path / "teacher", recipe, SETTINGS, LABELS, clips())
    knows.classifier.weight.data.neg_()
    knows.classifier.bias.data.neg_()
    told = predict(knows, spectra, SETTINGS).argmax(1)
    assert (told != clips().targets).mean() > 0.9
    pupil = train(
        tmp_path / "pupil", recipe, SETTINGS, LABELS, clips(), teachers=[Teacher(knows, SETTINGS)]
    )
    assert (predict(pupil, spectra, SETTINGS).argmax(1) == told).mean() > 0.9


def test_a_run_goes_on_with_its_own_teachers_alone(tmp_path: Path) -> None:
    once = changed(TINY, epochs=1)
    train(tmp_path, once, SETTINGS, LABELS, clips(), teachers=[teacher(0)])
    train(tmp_path, once, SETTINGS, LABELS, clips(), teachers=[teacher(0)])
    for others in ([], [teacher(1)], [teacher(0), teacher(0)]):
        with pytest.raises(TrainingError, match="other teachers; choose another folder"):
            train(tmp_path, once, SETTINGS, LABELS, clips(), teachers=others)


def test_a_run_that_has_ended_can_teach(tmp_path: Path, spectra: Spectra) -> None:
    made = teacher(0)
    found = load_teacher(finished_run(tmp_path, made.model), SETTINGS, LABELS)
    assert digest(found) == digest(made) != digest(teacher(1))
    said, expected = (taught([each], spectra.plain(), 2.0).scores for each in (found, made))
    torch.testing.assert_close(said, expected)


def test_who_cannot_teach_is_told_why(tmp_path: Path) -> None:
    with pytest.raises(TeachingError, match=r"nobody holds no model .* a training that has ended"):
        load_teacher(tmp_path / "nobody", SETTINGS, LABELS)
    run = finished_run(tmp_path / "run", untrained(0))
    with pytest.raises(TeachingError, match="not trained on the 3 kinds of sound to be learnt"):
        load_teacher(run, SETTINGS, ("a", "b", "c"))
    (run / "model/model.safetensors").write_bytes(b"")
    with pytest.raises(TeachingError, match="cannot be loaded: train it again"):
        load_teacher(run, SETTINGS, LABELS)
    finished_run(run, untrained(0))
    with pytest.raises(TeachingError, match="made for other spectra"):
        load_teacher(run, replace(SETTINGS, fmax=4_000.0), LABELS)
