"""Pictures for people: training curves, confusion matrix, reliability. Written as PNG."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from tinyast.evaluation.calibration import Scores, Targets, reliability
from tinyast.evaluation.metrics import Evaluation

mpl.use("Agg")  # no display is needed, nor looked for


def confusion_matrix(evaluation: Evaluation, path: Path) -> None:
    """Actual classes down, predicted across; dark is many. Those that no clip has are left out."""
    counts = evaluation.confusion
    used = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    labels = [evaluation.labels[number] for number in used]
    size = max(4.0, 0.22 * len(labels))
    figure = Figure(figsize=(size + 2, size + 2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts[np.ix_(used, used)], cmap="Greys")
    places = range(len(labels))
    axes.set_xticks(places, labels, rotation=90, fontsize=7)
    axes.set_yticks(places, labels, fontsize=7)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    axes.set_title(f"{evaluation.accuracy:.1%} of {evaluation.clips} clips right")
    figure.savefig(path, dpi=120)


def reliability_diagram(scores: Scores, targets: Targets, path: Path) -> None:
    """Share of correct clips by score; calibrated scores lie on the diagonal."""
    rows = reliability(scores, targets)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    areas = [400 * count / len(targets) + 5 for _, _, count in rows]
    axes.scatter([score for score, _, _ in rows], [hit for _, hit, _ in rows], s=areas)
    axes.set_xlabel("mean score of the label given")
    axes.set_ylabel("share that is right")
    axes.set_title("area: number of clips")
    figure.savefig(path, dpi=120)


def training_curves(metrics: Path, path: Path) -> None:
    """Loss and accuracies over the epochs of a run's metrics.csv."""
    with metrics.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    epochs = [int(row["epoch"]) for row in rows]
    tested = [
        (int(row["epoch"]), float(row["test_accuracy"])) for row in rows if row["test_accuracy"]
    ]
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.subplots()
    left.plot(epochs, [float(row["loss"]) for row in rows], color="0.6")
    left.set_xlabel("epoch")
    left.set_ylabel("loss on mixed clips (grey)")
    right = left.twinx()
    right.plot(epochs, [float(row["train_accuracy"]) for row in rows], label="mixed, in training")
    if tested:
        right.plot(*zip(*tested, strict=True), label="plain, held out")
    right.set_ylabel("accuracy")
    right.set_ylim(0, 1)
    right.legend(loc="lower right")
    figure.savefig(path, dpi=120)
