"""A head for kinds of sound that a checkpoint was taught later: arrays, applied after its graph.

Its softmax decides between "a sound that the model knew before" and each kind taught; the model's
scores for the kinds that it knew divide the first. `tinyast.learning` fits it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from tinyast.arrays import Float
from tinyast.errors import CheckpointError

HEAD = "head.npz"
ARRAYS = ("thresholds", "centre", "scale", "weights", "bias", "means", "within")
LEAST = 1e-5  # of a score whose logarithm is taken
AUDIOSET_WEIGHT = 0.5  # of log-odds beside embeddings, which have a spread of 1
FAMILIAR = 4.0  # logits by which familiarity falls if the distance grows by one


class Head(Struct, frozen=True, eq=False):
    """A softmax regression of `kinds`, K of them, on d features of each window.

    The columns of the softmax are: known before, each of the kinds, and, if `has_none`, sounds of
    no kind.
    """

    kinds: tuple[str, ...]
    thresholds: Float  # (K,) least score to accept; not a number where the settings decide
    only_mine: bool  # whether the kinds known before are dropped
    has_none: bool
    centre: Float  # (d,) is subtracted from features
    scale: Float  # (d,) then divides them
    weights: Float  # (d, 1 + K), or (d, 2 + K) with none
    bias: Float
    means: Float  # (K, embedding) of each kind
    within: Float  # (embedding, embedding): times its transpose, the inverse covariance
    farthest: float  # distance beyond which a sound is unlike the kind

    def labels(self, before: Sequence[str]) -> tuple[str, ...]:
        """All kinds, in the order of the logits; `before` are those of the graph."""
        return self.kinds if self.only_mine else (*before, *self._added(before))

    def _added(self, before: Sequence[str]) -> list[str]:
        return [kind for kind in self.kinds if kind not in before]

    def apply(
        self,
        logits: Float,
        embedding: Float,
        audioset: Float | None,
        before: Sequence[str],
        unknown_below: float | None,
    ) -> Float:
        """Logits of all kinds, (n, labels), from the graph's outputs for n windows.

        `logits` are (n, before), `embedding` (n, embedding), `audioset` (n, 527) or None. The best
        of the new logits is how familiar the window is, as it is for the graph's own.
        """
        # A head that was fitted without AudioSet's scores has as many features as embeddings.
        alone = len(self.centre) == embedding.shape[1]
        columns = self.log_scores(described(embedding, None if alone else audioset))
        shares = np.exp(columns)
        labels = self.labels(before)
        scores = np.zeros((len(logits), len(labels)))
        spare = shares[:, -1:] if self.has_none else np.zeros((len(logits), 1))
        if self.only_mine:
            spare = spare + shares[:, :1]
        else:
            scores[:, : len(before)] = shares[:, :1] * np.exp(_log_softmax(logits))
        for number, kind in enumerate(self.kinds):
            scores[:, labels.index(kind)] += shares[:, 1 + number]
        scores += spare / len(labels)
        new = np.log(np.maximum(scores, 1e-12))
        familiar = self._familiarity(columns, logits, embedding, unknown_below)
        made: Float = (new - new.max(axis=1, keepdims=True) + familiar[:, None]).astype(np.float32)
        return made

    def log_scores(self, features: Float) -> NDArray[np.float64]:
        """Logarithms of the softmax's columns, (n, columns), for features (n, d)."""
        scaled = (features - self.centre) / self.scale
        return _log_softmax(scaled @ self.weights + self.bias)

    def distances(self, embedding: Float) -> NDArray[np.float64]:
        """How far windows are from each kind, (n, K), less how far from all sounds together.

        The relative Mahalanobis distance (Ren et al. 2021), for each number of the embedding.
        """
        spread, centres = embedding @ self.within, self.means @ self.within
        squares = (spread**2).sum(1)[:, None] - 2 * spread @ centres.T + (centres**2).sum(1)
        relative: NDArray[np.float64] = (squares - (embedding**2).sum(1)[:, None]) / len(
            self.within
        )
        return relative

    def _familiarity(
        self,
        columns: NDArray[np.float64],
        logits: Float,
        embedding: Float,
        unknown_below: float | None,
    ) -> NDArray[np.float64]:
        """(n,): the graph's own for a sound known before; for a kind taught, by its distance."""
        own: NDArray[np.float64] = logits.max(axis=1).astype(np.float64)
        if unknown_below is None:
            return own
        best = columns.argmax(axis=1)
        kind = np.clip(best - 1, 0, len(self.kinds) - 1)
        near = self.distances(embedding)[np.arange(len(kind)), kind]
        taught = unknown_below + FAMILIAR * (self.farthest - near)
        no_kind = best > len(self.kinds)
        if self.only_mine:
            no_kind |= best == 0
        familiar: NDArray[np.float64] = np.where(best == 0, own, taught)
        judged: NDArray[np.float64] = np.where(
            no_kind, np.minimum(familiar, unknown_below - 1), familiar
        )
        return judged

    def save(self, path: Path) -> None:
        """Write it as arrays."""
        np.savez_compressed(
            path,
            kinds=np.array(self.kinds),
            flags=np.array([self.only_mine, self.has_none]),
            farthest=np.float64(self.farthest),
            **{name: getattr(self, name) for name in ARRAYS},
        )


def read_head(path: Path) -> Head:
    """The head that `Head.save` wrote. Raises CheckpointError."""
    try:
        with path.open("rb") as data, np.load(data, allow_pickle=False) as file:
            only_mine, has_none = (bool(flag) for flag in file["flags"])
            return Head(
                kinds=tuple(str(kind) for kind in file["kinds"]),
                only_mine=only_mine,
                has_none=has_none,
                farthest=float(file["farthest"]),
                **{name: file[name] for name in ARRAYS},
            )
    except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); learn the kinds again with `tinyastd learn`"
        ) from error


def described(embedding: Float, audioset: Float | None) -> Float:
    """The features of a head, (n, d): embeddings and, if given, AudioSet's scores as log-odds."""
    if audioset is None:
        return embedding
    clear = np.clip(audioset, LEAST, 1 - LEAST)
    odds = np.log(clear / (1 - clear)) * np.float32(AUDIOSET_WEIGHT)
    return np.concatenate([embedding, odds], axis=1)


def _log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    log_scores: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return log_scores
