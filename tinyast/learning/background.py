"""All other sounds, for a head to learn from: the kinds that the checkpoint knew, and of no kind.

A checkpoint keeps its graph's outputs for a few hundred of its own training clips in a file. If
that is missing, or of another graph, embeddings are drawn from the statistics of each kind that
are among the weights; AudioSet's scores cannot be drawn, so the head then does without them.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from tinyast.arrays import Float
from tinyast.errors import CheckpointError
from tinyast.inference.checkpoint import GRAPH, REFERENCE, WEIGHTS, Checkpoint

OF_NO_KIND = -1  # a target
DRAWN = 12  # embeddings of each kind
SHRUNK = 0.3  # how far a covariance is drawn towards one without correlations

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Background:
    """The graph's outputs for m windows of other sounds, and how kinds spread in embeddings."""

    embedding: Float  # (m, embedding)
    audioset: Float | None  # (m, 527)
    targets: NDArray[np.int64]  # (m,) numbers of the checkpoint's kinds, or OF_NO_KIND
    within: Float  # (embedding, embedding): times its transpose, the inverse covariance of a kind


def read_background(checkpoint: Checkpoint) -> Background:
    """The background that `checkpoint` keeps, or one drawn from its statistics.

    Raises CheckpointError if it has neither, or the one kept is damaged.
    """
    path = checkpoint.path / REFERENCE
    if path.is_file():
        checkpoint.checked(REFERENCE)
        try:
            with path.open("rb") as data, np.load(data, allow_pickle=False) as file:
                if str(file["graph"]) == checkpoint.listed(GRAPH):
                    embedding = file["embedding"].astype(np.float32)
                    targets = file["targets"].astype(np.int64)
                    within = spread_within(embedding, targets)
                    return Background(
                        embedding, file["audioset"].astype(np.float32), targets, within
                    )
        except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        log.warning("%s is of another graph: the checkpoint's statistics serve instead", path)
    return _drawn(checkpoint)


def spread_within(embedding: Float, targets: NDArray[np.int64]) -> Float:
    """`within` of a background: how embeddings of a kind spread about its mean."""
    known = targets != OF_NO_KIND
    some, kinds = embedding[known].astype(np.float64), targets[known]
    rest = np.empty_like(some)
    for kind in np.unique(kinds):
        rest[kinds == kind] = some[kinds == kind] - some[kinds == kind].mean(axis=0)
    freedom = max(1, len(some) - len(np.unique(kinds)))
    return inverse_factor(rest.T @ rest / freedom).astype(np.float32)


def inverse_factor(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """A matrix that times its transpose is the inverse of a covariance, (d, d), once shrunk."""
    even = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    return np.linalg.cholesky(np.linalg.inv((1 - SHRUNK) * covariance + SHRUNK * even))


def _drawn(checkpoint: Checkpoint) -> Background:
    names = ("familiarity.means", "familiarity.within")
    return drawn(*read_tensors(checkpoint.file(WEIGHTS), names))


def drawn(means: Float, within: Float) -> Background:
    """Embeddings drawn about the `means` of kinds, (kinds, embedding), with their spread."""
    random = np.random.default_rng(0)
    spread = np.linalg.inv(within.astype(np.float64))
    targets = np.repeat(np.arange(len(means)), DRAWN)
    around = random.standard_normal((len(targets), len(within))) @ spread
    embedding = (means[targets] + around).astype(np.float32)
    return Background(embedding, None, targets, within)


def read_tensors(path: Path, names: tuple[str, ...]) -> list[Float]:
    """Tensors of float32 out of a file of safetensors, without its library.

    The file has eight bytes of the header's length, a JSON header with shape and place of each
    tensor, and their bytes. Raises CheckpointError if one of `names` is not there.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
            found = []
            for name in names:
                start, end = header[name]["data_offsets"]
                file.seek(8 + size + start)
                data = np.frombuffer(file.read(end - start), "<f4")
                found.append(data.reshape(header[name]["shape"]))
            return found
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} holds no statistics of the kinds that it was trained on ({error}); learn from "
            "a checkpoint of version 5 or newer"
        ) from error
