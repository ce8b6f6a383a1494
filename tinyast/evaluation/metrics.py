"""Measures of how good scores are: accuracy, per class, confusions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyast.evaluation.calibration import Scores, Targets, calibration_error


@dataclass(frozen=True)
class ClassFigures:
    """How one class came out."""

    label: str
    clips: int  # of this class
    precision: float | None  # right among those called so; None if nothing was
    recall: float | None  # called so among those that are; None without any


@dataclass(frozen=True)
class Evaluation:
    """Figures over a set of clips that the model has not seen."""

    labels: tuple[str, ...]
    clips: int
    accuracy: float
    interval: tuple[float, float]  # 95 %, by `wilson`
    top3: float  # the right class is among the best three
    calibration_error: float  # of the scores as they are
    classes: tuple[ClassFigures, ...]
    confusion: NDArray[np.int64]  # (classes, classes): actual, predicted

    def most_confused(self, count: int = 10) -> list[tuple[str, str, int]]:
        """Pairs (actual, predicted, clips) that went wrong most often, most first."""
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-wrong, axis=None, kind="stable")[:count]
        pairs = [divmod(int(place), len(self.labels)) for place in order]
        return [
            (self.labels[actual], self.labels[predicted], int(wrong[actual, predicted]))
            for actual, predicted in pairs
            if wrong[actual, predicted]
        ]

    def to_dict(self) -> dict[str, object]:
        """All of it in types that JSON knows."""
        return {
            "clips": self.clips,
            "accuracy": self.accuracy,
            "interval95": list(self.interval),
            "top3": self.top3,
            "calibration_error": self.calibration_error,
            "classes": [vars(row) for row in self.classes],
            "most_confused": [list(row) for row in self.most_confused()],
            "labels": list(self.labels),
            "confusion": self.confusion.tolist(),
        }


def evaluate(scores: Scores, targets: Targets, labels: tuple[str, ...]) -> Evaluation:
    """All figures for `scores` (clips, classes) of clips that are `targets` (clips,)."""
    found = scores.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (targets, found), 1)
    right = int(np.trace(confusion))
    best = np.argsort(-scores, axis=1)[:, :3]
    return Evaluation(
        labels=labels,
        clips=len(targets),
        accuracy=right / len(targets),
        interval=wilson(right, len(targets)),
        top3=float((best == targets[:, None]).any(axis=1).mean()),
        calibration_error=calibration_error(scores, targets),
        classes=tuple(_class_figures(confusion, labels)),
        confusion=confusion,
    )


def wilson(right: int, clips: int, z: float = 1.96) -> tuple[float, float]:
    """95 % confidence interval of a share (Wilson 1927)."""
    share = right / clips
    centre = (share + z**2 / (2 * clips)) / (1 + z**2 / clips)
    half = z * np.sqrt(share * (1 - share) / clips + z**2 / (4 * clips**2)) / (1 + z**2 / clips)
    return float(centre - half), float(centre + half)


def _class_figures(confusion: NDArray[np.int64], labels: tuple[str, ...]) -> list[ClassFigures]:
    figures = []
    for number, label in enumerate(labels):
        hits, actual, called = (
            int(confusion[number, number]),
            int(confusion[number].sum()),
            int(confusion[:, number].sum()),
        )
        precision = hits / called if called else None
        figures.append(ClassFigures(label, actual, precision, hits / actual if actual else None))
    return figures
