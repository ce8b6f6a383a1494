"""The part of `scripts.evaluate` that judges runs and checkpoints on held-out clips."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import track
from transformers.utils.logging import disable_progress_bar

from scripts.judged import (
    print_accuracy,
    print_calibration,
    print_kinds,
    print_some,
    write_predictions,
)
from tinyast.classifier import Classifier
from tinyast.data.datasets import Dataset, read_dataset
from tinyast.errors import DataError
from tinyast.evaluation.calibration import (
    Scores,
    accepted,
    calibration_error,
    temperatures_from_others,
)
from tinyast.evaluation.fitted import FAMILIAR, THRESHOLDS, fit, write_fitted
from tinyast.evaluation.held_out import (
    Judge,
    in_the_models_order,
    judge_of_checkpoint,
    judge_of_run,
    logits_of,
    robustness,
)
from tinyast.evaluation.metrics import evaluate
from tinyast.evaluation.open_set import MEASURES, auroc
from tinyast.evaluation.plots import confusion_matrix, reliability_diagram, training_curves
from tinyast.inference.engine import softmax
from tinyast.inference.familiarity import familiarity

Figures = dict[str, Any]  # by name, as figures.json has them


def judge(
    data: Path,
    runs: list[Path],
    checkpoint: Path | None,
    fold: int | None,
    engine: str,
    changed: bool,
    unknown: bool,
    output: Path,
) -> Figures:
    """Print and return the figures of runs, or of a checkpoint, and draw them into `output`.

    Raises TinyASTError, OSError.
    """
    disable_progress_bar()  # transformers shows one even for tiny files
    dataset = read_dataset(data)
    judges = [judge_of_run(dataset, folder, engine) for folder in runs]
    if unknown:
        return _unknown(dataset, judges)
    judges = judges or [judge_of_checkpoint(dataset, checkpoint, fold, engine)]
    dataset = in_the_models_order(judges, dataset)
    figures = _known(dataset, judges, runs, output, changed)
    if engine == "int8":
        figures["int8_points_lost"] = _int8_loss(dataset, judges, figures["accuracy"])
    for folder in runs:
        training_curves(folder / "metrics.csv", output / f"{folder.name}-curves.png")
    return figures


def _known(
    dataset: Dataset, judges: list[Judge], runs: list[Path], output: Path, changed: bool
) -> Figures:
    """All figures, over the pooled clips of all judges; each of `runs` gets what was fitted.

    The kinds of `dataset` are those of the models.
    """
    clips = dataset.subset(np.concatenate([judge.numbers for judge in judges]))
    logits = np.concatenate(
        [logits_of(judge, dataset.subset(judge.numbers), _follow) for judge in judges]
    )
    whose = np.repeat(np.arange(len(judges)), [len(judge.numbers) for judge in judges])
    result = evaluate(softmax(logits), clips.targets, dataset.labels)
    honest = _calibrated(logits, clips.targets, whose)
    fitted = fit(logits, clips.targets, tuple(map(str, runs)))
    right = logits.argmax(axis=1) == clips.targets
    shares = [float(right[whose == number].mean()) for number in range(len(judges))]
    error = calibration_error(honest, clips.targets)
    passed = [accepted(honest, clips.targets, threshold) for threshold in THRESHOLDS]
    print_kinds(result)
    print_some(clips, honest)
    print_accuracy(result, {judge.name: share for judge, share in zip(judges, shares, strict=True)})
    print_calibration(result, error, fitted, passed)
    lost = robustness(judges, dataset, right, _follow) if changed else {}
    for name, (points, half) in lost.items():
        typer.echo(f"{name:<38} {points:>5.1f} points lost (± {half:.1f})")
    confusion_matrix(result, output / "confusion.png")
    reliability_diagram(honest, clips.targets, output / "reliability.png")
    write_predictions(output / "predictions.csv", clips, honest)
    for run in runs:
        write_fitted(run, fitted)
    return result.to_dict() | {
        "accuracy_by_run": shares,
        "temperature": fitted.temperature,
        "calibrated_error": error,
        "accepted": [asdict(row) for row in passed],
        "unknown_below": fitted.unknown_below,
        "points_lost": lost,
    }


def _int8_loss(dataset: Dataset, judges: list[Judge], accuracy: float) -> float:
    """Points of accuracy that int8 loses against float32 on the clips of all judges."""
    right: list[NDArray[np.bool_]] = []
    for judge in judges:
        exact = replace(judge, classifier=Classifier.load(judge.classifier.checkpoint.path))
        clips = dataset.subset(judge.numbers)
        found = logits_of(exact, clips, _follow, "float32").argmax(axis=1)
        right.append(found == clips.targets)
    lost = 100 * (float(np.concatenate(right).mean()) - accuracy)
    typer.echo(f"int8 loses {lost:.2f} points against float32")
    return lost


def _calibrated(
    logits: NDArray[np.float32], targets: NDArray[np.int64], whose: NDArray[np.int64]
) -> Scores:
    """Scores with temperatures fitted on the other judges' clips; unchanged for a single judge."""
    if len(np.unique(whose)) < 2:
        return softmax(logits)
    fitted = temperatures_from_others(logits, targets, whose)
    return softmax((logits / fitted[:, None]).astype(np.float32))


def _unknown(dataset: Dataset, judges: list[Judge]) -> Figures:
    """How well each measure separates omitted kinds from learnt ones."""
    if not judges:
        raise DataError("--unknown needs --run, as often as there are runs of --recipe unknown")
    rows: dict[str, list[float]] = {name: [] for name in MEASURES}
    caught = []
    for judge in judges:
        strange = judge.unknown(dataset)
        if not len(strange):
            raise DataError(
                f"{judge.name} knows every kind of sound in the data set; train it with "
                "--recipe unknown"
            )
        clips = dataset.subset(judge.numbers)
        known = logits_of(judge, clips, _follow)
        unheard = logits_of(judge, dataset.subset(strange), _follow, "unknown")
        named = known.argmax(axis=1) == [
            judge.classifier.labels.index(dataset.labels[target]) for target in clips.targets
        ]
        for name, measure in MEASURES.items():
            rows[name].append(auroc(measure(known), measure(unheard)))
        least = np.percentile(familiarity(known[named]), FAMILIAR)
        caught.append(float((familiarity(unheard) < least).mean()))
        typer.echo(
            f"{judge.name}: {len(clips)} clips of {len(judge.classifier.labels)} known kinds, "
            f"{named.mean():.1%} right; {len(strange)} of unknown ones"
        )
    for name, values in rows.items():
        listed = ", ".join(f"{value:.3f}" for value in values)
        typer.echo(f"AUROC by {name:<10} {np.mean(values):.3f} (mean of {listed})")
    typer.echo(
        f"where {FAMILIAR} % of rightly named clips are taken for unknown, "
        f"{np.mean(caught):.1%} of unknown ones are"
    )
    return {"auroc": rows, "caught": caught}


def _follow(paths: Iterable[Path], what: str) -> Iterable[Path]:
    return track(list(paths), description=what)
