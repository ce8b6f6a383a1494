"""Starting from weights that have heard AudioSet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SHARED
from torch import Tensor, nn

from tinyast.data.spectrograms import Spectra
from tinyast.errors import DataError
from tinyast.features.presets import FINE, SMALL
from tinyast.model.configuration import TinyASTConfig
from tinyast.model.mobilenet import AudioSetHead, MobileNet, cells
from tinyast.model.modeling import TinyASTForAudioClassification
from tinyast.training.distillation import Lesson, Teacher, taught
from tinyast.training.loop import Clips, train
from tinyast.training.pretrained import load_into, read_pretrained, settle
from tinyast.training.recipe import Recipe

RECIPE = Recipe(
    epochs=1,
    batch_size=4,
    picture="small",
    stem="mobilenet",
    stretched=(32, 64),
    hidden_size=8,
    intermediate_size=8,
    num_hidden_layers=2,
    none_clips=4,
    last_layer=0.5,
    familiar=0.1,
)


@pytest.fixture(scope="module")
def folder() -> Path:
    """mn04's weights, and their outputs for three clips."""
    path = SHARED / "pretrained"
    if not path.is_dir():
        pytest.skip(f"no weights at {path}; set TINYAST_SHARED to the folder that has pretrained/")
    return path


def test_the_network_gives_what_its_authors_code_gives(folder: Path) -> None:
    network, head = MobileNet().eval(), AudioSetHead().eval()
    load_into(network, head, read_pretrained(folder / "mn04_as_mAP_432.pt"))
    with np.load(folder / "reference.npz") as reference:
        names = [name.removesuffix("/mel") for name in reference if name.endswith("/mel")]
        assert len(names) == 3
        for name in names:
            picture = torch.from_numpy(reference[f"{name}/mel"])[None, None]
            with torch.inference_mode():
                mean = network(picture).mean((2, 3))
                logits = head(mean)[1]
            np.testing.assert_allclose(mean[0], reference[f"{name}/features"], atol=1e-3)
            np.testing.assert_allclose(logits[0], reference[f"{name}/logits"], atol=1e-3)


def test_settling_gives_channels_the_mean_and_spread_of_their_batch_norm(folder: Path) -> None:
    weights = read_pretrained(folder / "mn04_as_mAP_432.pt")
    with np.load(folder / "reference.npz") as reference:
        mels = [reference[name] for name in reference if name.endswith("/mel")]
    pictures = torch.from_numpy(np.stack(mels))[:, None] * 0.05
    network = MobileNet().eval()
    load_into(network, AudioSetHead(), weights)
    settle(network, weights, pictures)
    with torch.inference_mode():
        first = network.layers[0](pictures)
        last = network.layers[:-1](pictures)
    for cells_of, norm in ((first, "features.0.1"), (last, "features.16.1")):
        spread, middle = weights[f"{norm}.weight"].abs(), weights[f"{norm}.bias"]
        torch.testing.assert_close(cells_of.mean((0, 2, 3)), middle, atol=1e-2, rtol=1e-2)
        torch.testing.assert_close(cells_of.std((0, 2, 3)), spread, atol=1e-2, rtol=1e-2)


def test_a_missing_and_another_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"is missing: .* `python -m scripts.download --pretrained`"
    ):
        read_pretrained(tmp_path / "weights.pt")
    (tmp_path / "weights.pt").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"weights\.pt is not mn04_as_mAP_432\.pt"):
        read_pretrained(tmp_path / "weights.pt")


def test_tokens_are_counted_as_the_network_makes_them() -> None:
    made = MobileNet().eval()(torch.zeros(1, 1, 128, 500))
    assert made.shape == (1, 384, cells(128), cells(500))


def test_a_small_network_learns_kinds_and_none(tmp_path: Path) -> None:
    spectra = np.random.default_rng(0).gamma(1, 1, (12, 2, 128, FINE.n_hops)).astype(np.float32)
    spectra[::2, :, :32] *= 100
    kinds = Clips(Spectra.of(spectra[:8]), np.arange(8) % 2)
    clips = kinds.with_none(Spectra.of(spectra[8:, :1]))
    assert clips.targets.tolist() == [0, 1] * 4 + [-1] * 4
    assert (len(clips.spectra), clips.spectra.variants) == (12, 2)
    of_none = clips.spectra.power(np.array([8, 9]), np.array([0, 1]))
    np.testing.assert_array_equal(of_none, spectra[8:10, 0])  # they have one variant
    model = train(tmp_path, RECIPE, SMALL, ("low", "high"), clips, kinds)
    assert model.familiarity.counts.tolist() == [4, 4]
    with torch.inference_mode():
        output = model(torch.zeros(3, 64, 64))
    assert output.logits.shape == (3, 2)
    assert output.embedding.shape == (3, model.config.embedding_size)
    assert output.audioset_logits.shape == (3, 527)


def test_audioset_scores_are_of_the_clip_with_others_behind_it() -> None:
    model = TinyASTForAudioClassification(
        TinyASTConfig(stem="mobilenet", stretched=(32, 64))
    ).eval()
    for layer in model.modules():  # so that an untrained network tells two pictures apart
        if isinstance(layer, nn.Conv2d):
            layer.weight.data *= 3
    teachers = [Teacher(model, SMALL)]
    clear = np.random.default_rng(0).gamma(1, 1, (3, 128, FINE.n_hops)).astype(np.float32)
    covered = clear.copy()
    covered[1, 64:] += 50
    of_clear, of_covered = (taught(teachers, each, 2.0) for each in (clear, covered))
    lesson = taught(teachers, clear, 2.0, covered)
    for name in ("scores", "features"):
        torch.testing.assert_close(getattr(lesson, name), getattr(of_clear, name))

    def apart(other: Lesson) -> Tensor:
        assert lesson.audioset_logits is not None
        assert other.audioset_logits is not None
        return (lesson.audioset_logits - other.audioset_logits).square().sum(1)

    assert apart(of_clear)[1] > 10_000 * apart(of_covered).max()
