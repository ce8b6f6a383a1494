"""Make a checkpoint: `python -m scripts.export --model runs/NAME/model --output FOLDER`.

`tinyastd run --checkpoint` and Transformers' `from_pretrained` read the folder.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from scripts.frontend import needs_train, plainly, run_script, say_next

with needs_train():
    from transformers.utils.logging import disable_progress_bar

    from tinyast.data.datasets import read_dataset
    from tinyast.evaluation.fitted import LEAST_CLIPS, Fitted, find_fitted, not_evaluated
    from tinyast.export.checkpoint import add_features, export, read_settings
    from tinyast.export.int8 import calibration_pictures
    from tinyast.model.modeling import TinyASTForAudioClassification
from tinyast.classifier import Classifier
from tinyast.errors import CheckpointError


def command(
    model: Annotated[Path | None, typer.Option(help="Folder `model` in a training run.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the checkpoint.")] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="Divides logits; by default the one that `scripts.evaluate` fitted."),
    ] = None,
    unknown_below: Annotated[
        float | None, typer.Option(help="Least familiarity of a known sound; default: the same.")
    ] = None,
    int8: Annotated[
        Path | None,
        typer.Option(help="Also write an int8 graph, fitted to clips of this data set."),
    ] = None,
    int8_loss: Annotated[
        float | None,
        typer.Option(help="Points that int8 loses; `scripts.evaluate --engine int8` measures it."),
    ] = None,
    version: Annotated[str, typer.Option(help="Version to name in every prediction.")] = "0",
    features: Annotated[
        Path | None,
        typer.Option(help="Only add feature graphs to this checkpoint of an earlier release."),
    ] = None,
) -> None:
    """Write a checkpoint folder, and check that its ONNX graph gives the model's scores.

    The temperature of scores and the limit of the rule `unknown` come from `scripts.evaluate`,
    which writes them to the run's folder, or from a run of the same kinds and recipe beside it.

    \b
    Examples:
      python -m scripts.export --model runs/full-4/model --output checkpoints/mine
      python -m scripts.export --model runs/all/model --output checkpoints/mine --int8 my-sounds
      python -m scripts.export --features checkpoints/older
    """
    if features is not None:
        if model or output or int8:
            raise typer.BadParameter(
                "goes without --model, --output and --int8", param_hint="--features"
            )
        with plainly("The checkpoint is unchanged."):
            add_features(features)
        typer.echo(f"{features}: feature graphs written")
        return
    if model is None or output is None:
        missing = "--model" if model is None else "--output"
        raise typer.BadParameter("name a folder", param_hint=missing)
    with plainly("The output folder is unchanged."):
        _export(model, output, temperature, unknown_below, int8, int8_loss, version)
    say_next("tinyastd", "run", "--checkpoint", output)


def _export(
    model: Path,
    output: Path,
    temperature: float | None,
    unknown_below: float | None,
    int8: Path | None,
    int8_loss: float | None,
    version: str,
) -> None:
    if not (model / "config.json").is_file():
        raise CheckpointError(f"{model} holds no trained model (no config.json)")
    network = TinyASTForAudioClassification.from_pretrained(model)
    if temperature is not None and temperature <= 0:
        raise CheckpointError(f"--temperature: a temperature is more than 0, not {temperature}")
    fitted = find_fitted(model.absolute().parent)
    if fitted is not None:
        # A run that went on from a checkpoint has its temperature already.
        factor = network.config.logit_temperature
        temperature = factor * fitted.temperature if temperature is None else temperature
        unknown_below = fitted.unknown_below if unknown_below is None else unknown_below
    elif network.config.unknown_below is not None:  # kept from the model that it went on from
        temperature = temperature or network.config.logit_temperature
        unknown_below = unknown_below or network.config.unknown_below
    network.config.logit_temperature = 1.0 if temperature is None else temperature
    network.config.unknown_below = unknown_below
    network.config.int8_points_lost = int8_loss
    settings = read_settings(model)
    pictures = calibration_pictures(read_dataset(int8), settings) if int8 else None
    difference = export(network, settings, output, version, pictures)
    engines = ("onnx", "int8") if int8 else ("onnx",)
    milliseconds = {name: _time(Classifier.load(output, name)) for name in engines}
    parameters = sum(weights.numel() for weights in network.parameters())
    typer.echo(f"{output}: {parameters:,} parameters, {len(network.config.id2label)} labels")
    typer.echo(f"scores of ONNX and torch differ by at most {difference:.1e}")
    for name, spent in milliseconds.items():
        typer.echo(f"{name}: a clip takes {spent:.1f} ms on one thread (median, features aside)")
    _say_calibration(model.parent, temperature, unknown_below, fitted)


def _say_calibration(
    run: Path, temperature: float | None, unknown_below: float | None, fitted: Fitted | None
) -> None:
    """Where temperature and rule come from; a warning for each that is missing."""
    if fitted is not None:
        clips = f"{fitted.clips} clips that {', '.join(fitted.runs)} held out"
        typer.echo(f"temperature and limit of `unknown` where not given: fitted to {clips}")
        if fitted.clips < LEAST_CLIPS:
            typer.echo(f"warning: {LEAST_CLIPS} clips at least are needed to calibrate scores")
    if temperature is not None and unknown_below is not None:
        typer.echo(f"temperature {temperature:.3f}, `unknown` below {unknown_below:.3f}")
        return
    lacks = [
        *(["its scores are not calibrated"] if temperature is None else []),
        *(["it takes no sound for `unknown`"] if unknown_below is None else []),
    ]
    typer.echo(f"warning: {' and '.join(lacks)}: no evaluated run of this model was found")
    if waiting := not_evaluated(run):
        first = f"run scripts.evaluate --run {waiting[0]} (with the --data of its training)"
    else:
        first = "train with --hold-out, run scripts.evaluate on that run"
    typer.echo(f"To have both, {first}, then export again")


def _time(classifier: Classifier, repeats: int = 200) -> float:
    """Median milliseconds for the logits of one picture."""
    settings = classifier.checkpoint.features
    shape = (1, settings.n_mels, settings.n_frames)
    picture = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    spent = []
    for _ in range(repeats):
        begun = time.perf_counter()
        classifier.engine.logits(picture)
        spent.append(time.perf_counter() - begun)
    return float(np.median(spent)) * 1e3


def main() -> None:
    disable_progress_bar()  # transformers shows one even for tiny files
    run_script(command)


if __name__ == "__main__":
    main()
