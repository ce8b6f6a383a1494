"""Recipes, and a training that is killed and resumes as if it had not been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from running import PYTHON_PATH

from tinyast.data.spectrograms import Spectra
from tinyast.features.log_mel import FeatureSettings
from tinyast.training.loop import Clips, TrainingError, one_cycle, train
from tinyast.training.recipe import Recipe, RecipeError, load_recipe

TINY = Recipe(epochs=3, batch_size=8)

SCRIPT = """
import sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_training import TINY, clips
from tinyast.features.log_mel import FeatureSettings
from tinyast.training.loop import train
torch.set_num_threads(1)


def report(row):
    print(row.epoch, flush=True)
    if row.epoch == 2:
        sys.stdin.readline()  # the third epoch begins when nobody is going to kill it


train(Path(sys.argv[1]), TINY, FeatureSettings(), ("a", "b"), clips(), clips(), test_every=2,
      report=report)
"""


def clips() -> Clips:
    """Sixteen made-up clips of two kinds, told apart by where their power lies."""
    spectra = np.random.default_rng(0).gamma(1, 1, (16, 2, 64, 128)).astype(np.float32)
    spectra[::2, :, :32] *= 100
    return Clips(Spectra.of(spectra), np.arange(16) % 2)


def start(folder: Path) -> subprocess.Popen[str]:
    """A training in a separate process, printing each epoch's number."""
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, folder, Path(__file__).parent],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": PYTHON_PATH},
    )


def finish(process: subprocess.Popen[str]) -> list[str]:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return out.split()


def test_killed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    assert finish(start(tmp_path / "whole")) == ["1", "2", "3"]

    process = start(tmp_path / "killed")
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    time.sleep(0.05)  # somewhere in the second epoch, or just after it
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    rest = finish(start(tmp_path / "killed"))
    assert rest[-1] == "3"
    assert rest[0] != "1"

    for name in ("model/model.safetensors", "metrics.csv", "run.json"):
        whole, killed = tmp_path / "whole" / name, tmp_path / "killed" / name
        assert whole.read_bytes() == killed.read_bytes(), name
    states = [torch.load(tmp_path / run / "state.pt") for run in ("whole", "killed")]
    for name, weights in states[0]["model"].items():
        assert torch.equal(weights, states[1]["model"][name]), name


def test_a_run_goes_on_with_its_own_recipe_and_clips_alone(tmp_path: Path) -> None:
    settings, labels = FeatureSettings(), ("a", "b")
    once = replace(TINY, epochs=1)
    train(tmp_path, once, settings, labels, clips())
    train(tmp_path, once, settings, labels, clips())  # no epoch is left to do, which is no error
    with pytest.raises(TrainingError, match="other recipe; choose another folder"):
        train(tmp_path, replace(once, mix=0.1), settings, labels, clips())
    heard_again = clips()
    heard_again.spectra.files[0][3] *= 2
    with pytest.raises(TrainingError, match="other clips;"):
        train(tmp_path, once, settings, labels, heard_again)
    with pytest.raises(TrainingError, match="other labels and clips;"):
        train(tmp_path, once, settings, ("a", "c"), heard_again)


def test_a_full_disk_is_told_and_leaves_no_part(small_disk: Path) -> None:
    with pytest.raises(TrainingError, match=r"cannot write .*state.pt: No space left on device"):
        train(small_disk / "run", TINY, FeatureSettings(), ("a", "b"), clips())
    assert [path.name for path in (small_disk / "run").iterdir()] == ["run.json"]


def test_learning_rate_rises_then_falls() -> None:
    recipe = Recipe(learning_rate=1.0, warmup=0.1)
    rates = [one_cycle(step / 100, recipe) for step in range(101)]
    assert np.argmax(rates) == 10
    assert rates[10] == pytest.approx(1.0)
    assert rates[0] < 0.02
    assert rates[-1] == pytest.approx(0.001)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_command_line_goes_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("epochs = 7\nmix = 0.5\n")
    recipe = load_recipe(path, {"epochs": "9", "bfloat16": "false", "learning_rate": "1e-3"})
    assert (recipe.epochs, recipe.mix) == (9, 0.5)
    assert (recipe.bfloat16, recipe.learning_rate) == (False, 1e-3)


def test_a_network_can_be_given_in_a_recipe_and_typed(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("stem_channels = [8, 16]\n")
    recipe = load_recipe(path, {"stem_depths": "1,1,1"})
    assert (recipe.stem_channels, recipe.stem_depths) == ((8, 16), (1, 1, 1))


@pytest.mark.parametrize(
    ("content", "overrides", "says"),
    [
        ("epoch = 7", {}, r"recipe\.toml: no recipe key is called 'epoch'; did you mean epochs\?$"),
        ("zebra = 7", {}, r"no recipe key is called 'zebra'; config/recipe-full\.toml lists them$"),
        ("epochs = 'many'", {}, "epochs must be int, not 'many'"),
        ("epochs = 1.5", {}, "epochs must be int"),
        ("epochs = inf", {}, "epochs must be int, not inf"),
        ("epochs = [", {}, "not valid TOML"),
        ("", {"mix": "much"}, "the command line: mix must be float"),
        ("", {"bfloat16": "1"}, "bfloat16 must be bool"),
        ("", {"stem_depths": "1,x"}, "stem_depths must be whole numbers as in 16,32,96, not '1,x'"),
        ("stem_channels = 3", {}, "stem_channels must be whole numbers"),
        ("stem_channels = [16, 1.5]", {}, "stem_channels must be whole numbers"),
    ],
)
def test_bad_recipe_is_named(
    tmp_path: Path, content: str, overrides: dict[str, str], says: str
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(content)
    with pytest.raises(RecipeError, match=says):
        load_recipe(path, overrides)


def test_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml"):
        load_recipe(tmp_path / "none.toml")
