"""How accurate a model is on sounds from elsewhere: a folder of clips with a labels.csv."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyast.arrays import Float
from tinyast.audio.decoding import read_file
from tinyast.classifier import Classifier
from tinyast.data.layout import find_labels
from tinyast.errors import AudioError, DataError
from tinyast.evaluation.calibration import calibration_error

NONE = "none"
"""The label of clips that are of no kind the model knows."""
LENGTHS = ((0.0, 1.0), (1.0, 2.5), (2.5, 5.0), (5.0, float("inf")))
"""Seconds, from and below."""


@dataclass(frozen=True)
class WildClip:
    """A clip with its label (`none` for no kind) and its length in seconds."""

    path: Path
    label: str
    seconds: float


@dataclass(frozen=True)
class Answer:
    """The scores of a clip, (labels,), and whether it is like no kind.

    A clip of several windows has the mean of their scores, and is unknown if more than half are.
    """

    scores: Float
    unknown: bool


Hear = Callable[[Path], Answer]


@dataclass(frozen=True)
class LengthFigures:
    """Clips of a known kind of one length, and the share of them that is right (None if none)."""

    least_s: float
    below_s: float
    clips: int
    right: float | None


@dataclass(frozen=True)
class WildFigures:
    """Shares are of clips of known kinds unless they say otherwise; None if there are no clips."""

    clips: int
    right: float | None
    top3: float | None
    accepted: float | None
    accepted_right: float | None  # of the accepted clips of a known kind
    none_clips: int
    none_accepted: float | None  # of the clips of no kind
    mean_score: float | None
    calibration_error: float | None
    lengths: tuple[LengthFigures, ...]
    confusions: tuple[tuple[str, str, int], ...]  # actual, given, clips; most first
    mistaken: tuple[tuple[str, str, float], ...]  # clips of no kind: name, given label, score


def read_wild(folder: Path, labels: Sequence[str]) -> list[WildClip]:
    """The clips that labels.csv lists (columns `file` and `label`), in `folder` or its `clips/`.

    Raises DataError for a missing or empty list, a missing clip, or a label that is not `none` and
    not among `labels`.
    """
    table = find_labels(folder)
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = [(row["file"], row["label"]) for row in csv.DictReader(file)]
    except KeyError as error:
        raise DataError(f"{table} has no column {error}") from error
    if not rows:
        raise DataError(f"{table} lists no clips")
    clips = []
    for name, label in rows:
        if label != NONE and label not in labels:
            raise DataError(f"{table}: {name} is labelled {label!r}, which the model does not know")
        path = next((at for at in (folder / "clips" / name, folder / name) if at.is_file()), None)
        if path is None:
            raise DataError(f"{table} lists {name}, which is not in {folder} or {folder / 'clips'}")
        clips.append(WildClip(path, label, _seconds(path)))
    return clips


def _seconds(path: Path) -> float:
    try:
        samples, rate = read_file(path)
    except AudioError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return len(samples) / rate


def hear_with(classifier: Classifier) -> Hear:
    """Hear whole files in the windows that the daemon cuts them into."""

    def hear(path: Path) -> Answer:
        windows = classifier.predict(*read_file(path))
        scores = np.mean([window.scores for window in windows], axis=0)
        return Answer(scores, sum(window.unknown for window in windows) * 2 > len(windows))

    return hear


def wild_figures(
    clips: Sequence[WildClip], answers: Sequence[Answer], labels: Sequence[str], threshold: float
) -> WildFigures:
    """Judge `answers`, one per clip; accepted are scores of `threshold` and more if not unknown."""
    kinds = np.array([labels.index(clip.label) if clip.label != NONE else -1 for clip in clips])
    scores = np.stack([answer.scores for answer in answers])
    known, order = kinds >= 0, np.argsort(-scores, axis=1)
    given, best = order[:, 0], scores.max(axis=1)
    right = given == kinds
    accepted = (best >= threshold) & ~np.array([answer.unknown for answer in answers])
    seconds = np.array([clip.seconds for clip in clips])
    error = calibration_error(scores[known], kinds[known]) if known.any() else None
    wrong = Counter((labels[kinds[at]], labels[given[at]]) for at in np.flatnonzero(known & ~right))
    return WildFigures(
        clips=int(known.sum()),
        right=_share(right, known),
        top3=_share((order[:, :3] == kinds[:, None]).any(axis=1), known),
        accepted=_share(accepted, known),
        accepted_right=_share(right, known & accepted),
        none_clips=int((~known).sum()),
        none_accepted=_share(accepted, ~known),
        mean_score=_share(best, known),
        calibration_error=error,
        lengths=tuple(_by_length(seconds, right, known)),
        confusions=tuple((*pair, count) for pair, count in wrong.most_common()),
        mistaken=tuple(
            (clips[at].path.name, labels[given[at]], float(best[at]))
            for at in map(int, np.flatnonzero(~known & accepted))
        ),
    )


def _by_length(
    seconds: NDArray[np.float64], right: NDArray[np.bool_], known: NDArray[np.bool_]
) -> list[LengthFigures]:
    rows = []
    for least, below in LENGTHS:
        inside = known & (seconds >= least) & (seconds < below)
        rows.append(LengthFigures(least, below, int(inside.sum()), _share(right, inside)))
    return rows


def _share(values: NDArray[np.bool_ | np.float32], among: NDArray[np.bool_]) -> float | None:
    return float(values[among].mean()) if among.any() else None
