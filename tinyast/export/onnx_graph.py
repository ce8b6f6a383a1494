"""Export a model to an ONNX file, and check that the file gives the model's scores."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from tinyast.model.modeling import TinyASTForAudioClassification
from tinyast.onnx_session import open_session

OPSET = 20  # the first with an operator for GELU, which otherwise is five
OUTPUTS = ("logits", "embedding", "audioset")


class _Graph(nn.Module):
    """The model with plain tensors in and out, as ONNX wants it."""

    def __init__(self, model: TinyASTForAudioClassification) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_values: Tensor) -> tuple[Tensor, ...]:
        made = self.model(input_values)
        if made.embedding is None:
            return (made.logits,)
        return made.logits, made.embedding, made.audioset_logits.sigmoid()


def write_graph(model: TinyASTForAudioClassification, path: Path) -> None:
    """Write the model as one ONNX file: `input_values` (batch, n_mels, n_frames) to `logits`.

    With a stem that has heard AudioSet also to `embedding` and to `audioset`, its scores.
    """
    config = model.config
    # Torch's fused attention becomes a dozen more operators, which find out sizes.
    model.set_attn_implementation("eager")
    example = torch.zeros(2, config.n_mels, config.n_frames)
    # It warns, in both ways, of internal deprecations and of operators that are not used here.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Graph(model),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["input_values"],
            output_names=[*OUTPUTS[: 3 if config.stem == "mobilenet" else 1]],
            verbose=False,
        )
    assert program is not None  # None only without dynamo
    program.save(str(path), external_data=False)
    strip(path)


def strip(path: Path) -> None:
    """Remove the exporter's notes from a graph: source lines and file paths of each operator.

    Users of the graph do not need them, and they reveal the machine it was made on.
    """
    made = onnx.load(path)
    for part in (
        made,
        made.graph,
        *made.graph.node,
        *made.graph.value_info,
        *made.graph.input,
        *made.graph.output,
        *made.graph.initializer,
        *made.functions,
    ):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.save(made, path)


def parity(model: TinyASTForAudioClassification, graph: Path, clips: int = 16) -> float:
    """Largest difference between scores of the model and of the graph, over made-up pictures."""
    shape = (clips, model.config.n_mels, model.config.n_frames)
    pictures = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    session = open_session(str(graph))
    with torch.inference_mode():
        expected = model(torch.from_numpy(pictures)).logits.softmax(-1).numpy()
    logits = torch.from_numpy(session.run(None, {"input_values": pictures})[0])
    return float(np.abs(logits.softmax(-1).numpy() - expected).max())
