"""The file with which a checkpoint remembers its own kinds, for heads that are learnt later."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from tinyast.arrays import Float
from tinyast.classifier import Classifier
from tinyast.data.atomic import replacing
from tinyast.data.datasets import Dataset
from tinyast.errors import AudioError, CheckpointError, DataError
from tinyast.export.checkpoint import write_sums
from tinyast.inference.checkpoint import GRAPH, REFERENCE, sha256
from tinyast.learning.background import OF_NO_KIND

OF_EACH_KIND = 8  # clips
NO_KIND = 200  # clips

Follow = Callable[[Iterable[Path], str], Iterable[Path]]  # shows progress under a title


def write_reference(folder: Path, dataset: Dataset, none: Sequence[Path], follow: Follow) -> int:
    """Write `reference.npz` into the checkpoint `folder`; the number of clips that it is of.

    It holds embeddings and AudioSet's scores of the first windows of some clips of each kind, and
    of clips of no kind. Raises DataError if `dataset` has other kinds than the checkpoint, or a
    clip cannot be read, and CheckpointError if the checkpoint gives no such outputs.
    """
    classifier = Classifier.load(folder)
    if classifier.labels != dataset.labels:
        raise DataError(f"{folder} knows other kinds of sound than the data set has")
    chosen: list[Path] = []
    targets: list[int] = []
    for kind in range(len(dataset.labels)):
        numbers = np.flatnonzero(dataset.targets == kind)
        some = [dataset.paths[at] for at in numbers[_evenly(len(numbers), OF_EACH_KIND)]]
        chosen, targets = chosen + some, targets + [kind] * len(some)
    others = [none[at] for at in _evenly(len(none), NO_KIND)]
    chosen, targets = chosen + others, targets + [OF_NO_KIND] * len(others)
    embedding, audioset = [], []
    for path in follow(chosen, "reference"):
        made = _first(classifier, path)
        embedding.append(made[0])
        audioset.append(made[1])
    with replacing(folder / REFERENCE) as part, part.open("wb") as file:
        np.savez_compressed(
            file,
            graph=np.array(sha256(classifier.checkpoint.file(GRAPH))),
            embedding=np.stack(embedding).astype(np.float16),
            audioset=np.stack(audioset).astype(np.float16),
            targets=np.array(targets, np.int16),
        )
    write_sums(folder, classifier.checkpoint.features)
    return len(chosen)


def _evenly(count: int, wanted: int) -> list[int]:
    return [int(at) for at in np.linspace(0, count - 1, min(count, wanted))]


def _first(classifier: Classifier, path: Path) -> tuple[Float, Float]:
    try:
        heard = next(classifier.hear_file(path, most=1))
    except (AudioError, OSError) as error:
        raise DataError(f"{path}: {error}") from error
    if heard.audioset is None:
        raise CheckpointError(f"{classifier.checkpoint.path} gives no scores of AudioSet's classes")
    return heard.embedding, heard.audioset
