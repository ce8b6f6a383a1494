"""Run trained models on held-out clips through the daemon's inference path."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyast.audio.decoding import read_file
from tinyast.classifier import Classifier
from tinyast.data.datasets import Dataset, Numbers
from tinyast.data.layout import find_predictions
from tinyast.data.spectrograms import load_clip
from tinyast.data.splits import some_of
from tinyast.errors import DataError
from tinyast.evaluation.calibration import Logits
from tinyast.evaluation.corruptions import Way, points_lost, ways
from tinyast.export.checkpoint import export, read_settings
from tinyast.export.int8 import calibration_pictures
from tinyast.model.modeling import TinyASTForAudioClassification

DATA = "data.txt"  # in a run's folder: the folder of its clips, as it was named

Follow = Callable[[Iterable[Path], str], Iterable[Path]]  # shows progress under a title


@dataclass(frozen=True)
class Judge:
    """A model, and the clips of a data set that it has not seen."""

    name: str
    classifier: Classifier
    numbers: Numbers

    def unknown(self, dataset: Dataset) -> Numbers:
        """Clips of kinds that it does not know, from the folds that it has not seen."""
        held = np.isin(dataset.folds, dataset.folds[self.numbers])
        known = [label in self.classifier.labels for label in dataset.labels]
        return np.flatnonzero(held & ~np.array(known)[dataset.targets])


def judge_of_run(dataset: Dataset, folder: Path, engine: str = "onnx") -> Judge:
    """A run's model, and the clips that it held out, which its predictions.csv names.

    With the int8 engine, its graph is fitted to clips of its training folds.
    Raises DataError if the run is not finished, or held out clips that are not in `dataset`.
    """
    place = {path.name: number for number, path in enumerate(dataset.paths)}
    try:
        with find_predictions(folder).open(newline="", encoding="utf-8") as handle:
            held = [place[row["filename"]] for row in csv.DictReader(handle)]
    except OSError as error:
        raise DataError(
            f"{folder} is not a finished run: its predictions.csv cannot be read ({error.strerror})"
        ) from error
    except KeyError as error:
        raise DataError(
            f"{folder} held out {error.args[0]}, which is not in this data: " + _trained_on(folder)
        ) from error
    model = TinyASTForAudioClassification.from_pretrained(folder / "model")
    settings, pictures = read_settings(folder / "model"), None
    if engine == "int8":
        learnt = np.flatnonzero(~np.isin(dataset.folds, dataset.folds[held]))
        pictures = calibration_pictures(dataset.subset(learnt), settings)
    export(model, settings, folder / "checkpoint", pictures=pictures)
    return Judge(folder.name, Classifier.load(folder / "checkpoint", engine), np.array(held))


def _trained_on(folder: Path) -> str:
    """The place of a run's clips, if its folder names it."""
    try:
        data = (folder / DATA).read_text(encoding="utf-8").strip()
    except OSError:
        return "name the folder it was trained on, with --data"
    return f"it was trained on {data}, so add --data {data}"


def judge_of_checkpoint(
    dataset: Dataset, folder: Path | None, fold: int | None, engine: str = "onnx"
) -> Judge:
    """A checkpoint, the shipped one if None, and the clips of `fold`, all of them if None.

    Raises DataError if there are no such clips, or the checkpoint knows other kinds of sound.
    """
    chosen = np.arange(len(dataset)) if fold is None else np.flatnonzero(dataset.folds == fold)
    if not len(chosen):
        raise DataError(f"no clip is in fold {fold}")
    classifier = Classifier.load(folder, engine)
    return Judge(classifier.checkpoint.name, classifier, chosen)


def in_the_models_order(judges: list[Judge], dataset: Dataset) -> Dataset:
    """`dataset` with the kinds of the judges' models, of which it may have only some.

    Raises DataError if it has a kind that a model does not know, or the models know different ones.
    """
    labels = judges[0].classifier.labels
    for judge in judges:
        path = judge.classifier.checkpoint.path
        if strange := [label for label in dataset.labels if label not in judge.classifier.labels]:
            raise DataError(
                f"{path} knows other kinds of sound than the data set has: it does not know "
                f"{some_of(strange)}. Name the folder that it was trained on, with --data"
            )
        if judge.classifier.labels != labels:
            raise DataError(f"{path} knows other kinds of sound than {judges[0].name}")
    places = np.array([labels.index(label) for label in dataset.labels])
    return replace(dataset, targets=places[dataset.targets], labels=labels)


def logits_of(
    judge: Judge, clips: Dataset, follow: Follow, name: str = "", way: Way | None = None
) -> Logits:
    """Calibrated logits of each clip's first window, (clips, labels), changed by `way` if given.

    Random draws of a way depend only on the clip's name.
    """
    rows = []
    for path in follow(clips.paths, f"{judge.name} {name}".strip()):
        if way is None:
            samples, rate = read_file(path)
            samples = samples[: round(judge.classifier.checkpoint.features.window_s * rate)]
        else:
            digest = hashlib.sha256(path.stem.encode()).digest()
            random = np.random.default_rng(list(digest[:16]))
            samples, rate = way(load_clip(path, judge.classifier.checkpoint.features), random)
        rows.append(judge.classifier.logits(samples, rate)[0])
    return np.stack(rows)


def robustness(
    judges: list[Judge], dataset: Dataset, clean: NDArray[np.bool_], follow: Follow
) -> dict[str, tuple[float, float]]:
    """For each way of changing sound: points lost and half their interval, all judges pooled.

    `clean` says, for all their clips in order, which are right without a change.
    """
    right: dict[str, list[NDArray[np.bool_]]] = {}
    for judge in judges:
        clips = dataset.subset(judge.numbers)
        heard = [load_clip(path, judge.classifier.checkpoint.features) for path in clips.paths[::4]]
        for name, way in ways(heard).items():
            found = logits_of(judge, clips, follow, name, way).argmax(axis=1)
            right.setdefault(name, []).append(found == clips.targets)
    return {name: points_lost(clean, np.concatenate(parts)) for name, parts in right.items()}
