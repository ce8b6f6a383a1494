"""Judge a model on clips that it has not seen.

One run or several, each on the fold that it held out, pooled:
`python -m scripts.evaluate --run runs/full-fold1-seed0 --run runs/full-fold2-seed0 ...`, or a
checkpoint on any data: `python -m scripts.evaluate --checkpoint FOLDER --data FOLDER --fold 5`.
"""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import track
from transformers.utils.logging import disable_progress_bar

from tinyast.audio import read_file
from tinyast.classifier import Classifier
from tinyast.datasets import Dataset, Numbers, read_dataset
from tinyast.errors import DataError, TinyASTError
from tinyast.evaluation import Evaluation, Scores, evaluate, fit_temperature
from tinyast.export import export, read_settings
from tinyast.modeling import TinyASTForAudioClassification
from tinyast.plots import confusion_matrix, reliability_diagram, training_curves
from tinyast.robustness import Way, points_lost, ways
from tinyast.spectra import load_clip

Judge = tuple[Classifier, Numbers]  # and which clips of the data set it has not seen


def command(
    data: Annotated[Path, typer.Option(help="Folder of clips with their CSV.")] = Path(
        "data/raw/ESC-50-master"
    ),
    run: Annotated[list[Path] | None, typer.Option(help="Run folder; may be repeated.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Checkpoint folder.")] = None,
    fold: Annotated[int | None, typer.Option(help="Fold to judge a checkpoint on.")] = None,
    output: Annotated[Path, typer.Option(help="Where figures go.")] = Path("runs/evaluation"),
    robustness: Annotated[
        bool, typer.Option(help="Also on changed sound: 17 times longer.")
    ] = False,
) -> None:
    """Print figures, and write them as JSON and PNG to --output."""
    try:
        dataset = read_dataset(data)
        judges = (
            [_run(dataset, folder) for folder in run]
            if run
            else [(Classifier.load(checkpoint), _fold(dataset, fold))]
        )
        judged = dataset.subset(np.concatenate([numbers for _, numbers in judges]))
        scores = np.concatenate(
            [_judge(classifier, dataset.subset(numbers)) for classifier, numbers in judges]
        )
        result = evaluate(scores, judged.targets, dataset.labels)
        # Logarithms of scores are logits, but for a constant that makes no difference.
        temperature = fit_temperature(np.log(np.maximum(scores, 1e-20)), judged.targets)
        table = _robustness(judges, dataset) if robustness else {}
    except TinyASTError as error:
        typer.secho(f"Error: {error}", err=True, fg="red")
        raise typer.Exit(2) from None
    output.mkdir(parents=True, exist_ok=True)
    figures = result.to_dict() | {"temperature": temperature, "points_lost": table}
    (output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    confusion_matrix(result, output / "confusion.png")
    reliability_diagram(scores, judged.targets, output / "reliability.png")
    for folder in run or []:
        training_curves(folder / "metrics.csv", output / f"{folder.name}-curves.png")
    _print(result, judged, scores)
    typer.echo(f"scores would be likeliest with logits divided by {temperature:.2f} once more")
    for name, (lost, half) in table.items():
        typer.echo(f"{name:<38} {lost:>5.1f} points lost (± {half:.1f})")
    typer.echo(f"\nFigures: {output}")


def _run(dataset: Dataset, folder: Path) -> Judge:
    """A run's model, and the numbers of its held-out clips, which predictions.csv names."""
    place = {path.name: number for number, path in enumerate(dataset.paths)}
    try:
        with (folder / "predictions.csv").open(newline="", encoding="utf-8") as handle:
            held = [place[row["filename"]] for row in csv.DictReader(handle)]
    except (OSError, KeyError) as error:
        raise DataError(
            f"{folder} is not a finished run with clips of this data held out ({error})"
        ) from error
    model = TinyASTForAudioClassification.from_pretrained(folder / "model")
    export(model, read_settings(folder / "model"), folder / "checkpoint")
    return Classifier.load(folder / "checkpoint"), np.array(held)


def _judge(classifier: Classifier, clips: Dataset, way: Way | None = None) -> Scores:
    """Scores of each clip's first window, as the daemon gives them, after `way` if given."""
    if classifier.labels != clips.labels:
        raise DataError(
            f"{classifier.checkpoint.path} knows other kinds of sound than the data set has"
        )
    rows = []
    for path in track(clips.paths, description=classifier.checkpoint.path.parent.name):
        if way is None:
            samples, rate = read_file(path)
        else:
            name = hashlib.sha256(path.stem.encode()).digest()
            random = np.random.default_rng(list(name[:16]))
            samples, rate = way(load_clip(path, classifier.checkpoint.features), random)
        rows.append(classifier.predict(samples, rate)[0].scores)
    return np.stack(rows)


def _robustness(judges: list[Judge], dataset: Dataset) -> dict[str, tuple[float, float]]:
    """For each way of changing sound: points lost and half their interval, all runs pooled."""
    right: dict[str, list[NDArray[np.bool_]]] = {}
    for classifier, numbers in judges:
        clips = dataset.subset(numbers)
        heard = [load_clip(path, classifier.checkpoint.features) for path in clips.paths[::4]]
        for name, way in {"clean": None, **ways(heard)}.items():
            found = _judge(classifier, clips, way).argmax(axis=1)
            right.setdefault(name, []).append(found == clips.targets)
    pooled = {name: np.concatenate(parts) for name, parts in right.items()}
    clean = pooled.pop("clean")
    return {name: points_lost(clean, changed) for name, changed in pooled.items()}


def _fold(dataset: Dataset, fold: int | None) -> Numbers:
    chosen = np.arange(len(dataset)) if fold is None else np.flatnonzero(dataset.folds == fold)
    if not len(chosen):
        raise DataError(f"no clip is in fold {fold}")
    return chosen


def _print(result: Evaluation, clips: Dataset, scores: Scores) -> None:
    low, high = result.interval
    typer.echo(f"\n{'kind':<18} {'clips':>5} {'precision':>9} {'recall':>7}")
    for row in sorted(result.classes, key=lambda row: row.recall):
        precision = "" if row.precision is None else f"{row.precision:.0%}"
        typer.echo(f"{row.label:<18} {row.clips:>5} {precision:>9} {row.recall:>7.0%}")
    typer.echo(f"\n{'actual':<18} {'predicted':<18} clips")
    for actual, predicted, count in result.most_confused():
        typer.echo(f"{actual:<18} {predicted:<18} {count:>5}")
    typer.echo(f"\n{'actual':<18} {'predicted':<18} {'score':>6}  clip")
    for number in range(0, len(clips), max(1, len(clips) // 10))[:10]:
        actual = clips.labels[clips.targets[number]]
        predicted = clips.labels[scores[number].argmax()]
        mark = "" if actual == predicted else "  x"
        best = scores[number].max()
        typer.echo(f"{actual:<18} {predicted:<18} {best:>6.2f}  {clips.paths[number].name}{mark}")
    typer.echo(
        f"\n{result.accuracy:.1%} of {result.clips} clips right "
        f"(95 % interval {low:.1%} to {high:.1%}), {result.top3:.1%} among the best three, "
        f"calibration error {result.calibration_error:.3f}"
    )


def main() -> None:
    disable_progress_bar()  # of transformers, for files that are read in no time
    typer.run(command)


if __name__ == "__main__":
    main()
