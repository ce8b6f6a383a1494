"""Running the model: one small interface, three engines.

ONNX Runtime is the engine of the daemon, on the graph in float32 or on the one in int8; torch is
the reference, loaded only when asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tinyast.arrays import Float
from tinyast.errors import CheckpointError
from tinyast.inference.checkpoint import GRAPH, INT8_GRAPH, WEIGHTS, Checkpoint
from tinyast.inference.engine_names import AUDIOSET, EMBEDDING, ENGINES, LOGITS
from tinyast.inference.head import HEAD, Head
from tinyast.onnx_session import open_session


class Engine(Protocol):
    """Runs the model on pictures, (n, mel bands, frames). Safe to call from several threads."""

    name: str
    sha256: str  # of the file that holds the weights
    outputs: tuple[str, ...]  # what this model gives: LOGITS, and the others from version 5 on

    def logits(self, batch: Float) -> Float:
        """Calibrated logits, (n, labels)."""
        ...

    def run(self, batch: Float, outputs: Sequence[str]) -> list[Float]:
        """These of `self.outputs`, in the order asked for."""
        ...


def load_engine(checkpoint: Checkpoint, name: str = "onnx") -> Engine:
    """Load `checkpoint` into the named engine. Raises CheckpointError; ValueError for the name."""
    engine = load_graph(checkpoint, name)
    return engine if checkpoint.head is None else TaughtEngine(engine, checkpoint, checkpoint.head)


def load_graph(checkpoint: Checkpoint, name: str = "onnx") -> Engine:
    """As `load_engine`, without the head for kinds that were taught later."""
    if name == "onnx":
        return OnnxEngine(checkpoint, GRAPH, name)
    if name == "int8":
        return OnnxEngine(checkpoint, INT8_GRAPH, name)
    if name == "torch":
        try:
            from tinyast.inference.torch_engine import TorchEngine
        except ImportError as error:
            raise CheckpointError(
                f"the torch engine needs the extra `train` ({error}); install `tinyast[train]`, "
                "or use the onnx engine"
            ) from error
        return TorchEngine(checkpoint, checkpoint.checked(WEIGHTS))
    raise ValueError(f"unknown engine {name!r}; choose one of {', '.join(ENGINES)}")


class OnnxEngine:
    """An exported graph in ONNX Runtime, one thread per call."""

    def __init__(self, checkpoint: Checkpoint, file: str, name: str) -> None:
        self.name = name
        graph = checkpoint.file(file)
        self.sha256 = checkpoint.checked(file)
        try:
            self._session = open_session(str(graph))
        except Exception as error:  # ONNX Runtime's exceptions share no base but this one
            raise CheckpointError(f"{graph} cannot be loaded: {error}") from error
        self._input = self._session.get_inputs()[0].name
        self.outputs = tuple(output.name for output in self._session.get_outputs())

    def logits(self, batch: Float) -> Float:
        return self.run(batch, (LOGITS,))[0]

    def run(self, batch: Float, outputs: Sequence[str]) -> list[Float]:
        return self._session.run(outputs, {self._input: batch})


class TaughtEngine:
    """A graph, and after it the head for kinds that were taught later."""

    def __init__(self, graph: Engine, checkpoint: Checkpoint, head: Head) -> None:
        if EMBEDDING not in graph.outputs:
            raise CheckpointError(
                f"{checkpoint.path} has a {HEAD}, and its graph gives no embeddings for it"
            )
        self.name, self.outputs = graph.name, graph.outputs
        both = graph.sha256 + checkpoint.checked(HEAD)
        self.sha256 = hashlib.sha256(both.encode()).hexdigest()
        self._graph, self._head = graph, head
        self._labels, self._unknown_below = checkpoint.graph_labels, checkpoint.unknown_below

    def logits(self, batch: Float) -> Float:
        return self.run(batch, (LOGITS,))[0]

    def run(self, batch: Float, outputs: Sequence[str]) -> list[Float]:
        made = dict(zip(self.outputs, self._graph.run(batch, self.outputs), strict=True))
        made[LOGITS] = self._head.apply(
            made[LOGITS], made[EMBEDDING], made.get(AUDIOSET), self._labels, self._unknown_below
        )
        return [made[name] for name in outputs]


def softmax(logits: Float) -> Float:
    """Scores that sum to 1, (n, labels)."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    scores: Float = shifted / shifted.sum(axis=-1, keepdims=True)
    return scores
