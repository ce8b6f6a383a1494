"""A model that is taught more kinds keeps those that it knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tinyast.classifier import Classifier
from tinyast.errors import CheckpointError
from tinyast.features.presets import SMALL
from tinyast.inference.checkpoint import shipped
from tinyast.training.extending import Extension, describe_more, extend, find_model, remapped
from tinyast.training.recipe import Recipe, load_recipe

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def extension() -> Extension:
    """esc50 with room for two kinds, one of which it knows."""
    return extend(find_model("esc50"), ["dog", "kettle"], only_mine=False)


def pictures(count: int) -> torch.Tensor:
    made = np.random.default_rng(0).standard_normal((count, 64, 64)).astype(np.float32)
    return torch.from_numpy(made)


def test_at_first_known_kinds_score_as_before_and_among_each_other(extension: Extension) -> None:
    given = pictures(4)
    before = Classifier.load("esc50", engine="torch")
    known = len(before.labels)
    assert extension.labels == (*before.labels, "kettle")
    with torch.inference_mode():
        logits = extension.begin.model(given).logits.numpy()
    expected = before.engine.logits(given.numpy())
    np.testing.assert_allclose(logits[:, :known], expected, atol=1e-3)


def test_only_mine_has_the_rows_that_are_known(extension: Extension) -> None:
    alone = extend(find_model("esc50"), ["dog", "kettle"], only_mine=True)
    assert (alone.labels, alone.kept) == (("dog", "kettle"), None)
    row = extension.begin.model.classifier.weight[0]
    torch.testing.assert_close(alone.begin.model.classifier.weight[0], row)


def test_rehearsal_wants_no_change_and_undoes_that_of_kinds_unheard(extension: Extension) -> None:
    model, kept = extension.begin.model, extension.kept
    assert kept is not None
    assert kept.count == 50
    model.classifier.bias.data[50] = -30.0  # the new kind gets no score
    kept.loss(model, np.random.default_rng(0)).backward()  # type: ignore[no-untyped-call]
    gradient = model.classifier.weight.grad
    assert gradient is not None
    assert gradient.abs().max() < 1e-3
    gradient += 1.0
    kept.hold(model, np.array([0, 50, -1]))
    assert gradient[1:50].abs().max() == 0
    assert gradient[[0, 50]].abs().min() > 0
    model.zero_grad()


def test_means_of_a_new_kind_are_those_of_its_clips(extension: Extension) -> None:
    familiar = extension.begin.model.familiarity
    before = familiar.means.clone()
    features = np.random.default_rng(0).standard_normal(
        (3, extension.begin.model.scaling.num_features)
    )
    describe_more(extension.begin.model, features, np.array([50, 50, 50]))
    with torch.inference_mode():
        embedded = extension.begin.model.embedding(torch.from_numpy(features).float())
    torch.testing.assert_close(familiar.means[50], embedded.mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(familiar.means[:50], before[:50])
    assert familiar.counts[50] == 3


def test_a_recipe_gets_that_model_s_picture_and_network(extension: Extension) -> None:
    recipe = extension.recipe(Recipe(picture="fine", stem="mobilenet", hidden_size=8))
    assert (recipe.picture, recipe.hidden_size) == ("small", 160)
    assert extension.begin.settings == SMALL
    ours = load_recipe(ROOT / "config" / "recipe-mine.toml")
    assert extension.recipe(ours) == ours


def test_targets_among_more_labels() -> None:
    assert remapped(np.array([1, 0, -1]), ("a", "b"), ("x", "b", "a")).tolist() == [1, 2, -1]


def test_what_cannot_be_extended(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"name a checkpoint, .* esc50 and esc50-fine"):
        find_model("esc5")
    for name in ("config.json", "head.npz"):
        (tmp_path / name).write_bytes((shipped()["esc50"] / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match="itself made by `tinyastd learn`"):
        find_model(str(tmp_path))
