"""From a trained model to a checkpoint folder that the daemon and Transformers both read."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from tinyast.checkpoint import FEATURES, GRAPH, write_sums
from tinyast.engine import load_onnxruntime
from tinyast.errors import TinyASTError
from tinyast.feature_extraction import TinyASTFeatureExtractor
from tinyast.features import FeatureSettings
from tinyast.modeling import TinyASTForAudioClassification

PARITY = 1e-4  # largest difference between scores of the graph and of the model
OPSET = 18


class ExportError(TinyASTError):
    """A checkpoint could not be written as it should be."""


class _Graph(nn.Module):
    """The model with plain tensors in and out, as ONNX wants it."""

    def __init__(self, model: TinyASTForAudioClassification) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_values: Tensor) -> Tensor:
        logits: Tensor = self.model(input_values).logits
        return logits


def export(
    model: TinyASTForAudioClassification,
    settings: FeatureSettings,
    folder: Path,
    version: str = "0",
    card: str | None = None,
) -> float:
    """Write all files of a checkpoint to `folder` and return the largest difference of scores.

    Everything is made and checked in a folder beside it first, so a failure leaves `folder` as it
    was. Raises ExportError if the graph's scores stray from the model's by `PARITY` or more.
    """
    model = model.eval().to("cpu", torch.float32)
    model.config.name, model.config.version = folder.name, version
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as name:
        made = Path(name)
        model.save_pretrained(made)
        TinyASTFeatureExtractor(**settings.to_dict()).save_pretrained(made)
        write_graph(model, made / GRAPH)
        difference = parity(model, made / GRAPH)
        if difference >= PARITY:
            raise ExportError(f"scores of the ONNX graph differ from torch by {difference:.1e}")
        write_sums(made)
        if card is not None:
            (made / "README.md").write_text(card, encoding="utf-8")
        folder.mkdir(exist_ok=True)
        for path in sorted(made.iterdir()):
            path.chmod(0o644)  # safetensors writes for its owner alone
            os.replace(path, folder / path.name)
    return difference


def write_graph(model: TinyASTForAudioClassification, path: Path) -> None:
    """Write the model as one ONNX file: `input_values` (batch, n_mels, n_frames) to `logits`."""
    config = model.config
    example = torch.zeros(2, config.n_mels, config.n_frames)
    # It warns, by both ways, of its own deprecations and of operators that are not used here.
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
            output_names=["logits"],
            verbose=False,
        )
    assert program is not None  # None only without dynamo
    program.save(str(path), external_data=False)
    strip(path)


def strip(path: Path) -> None:
    """Take out of a graph what the exporter notes of each operator: source lines and file paths.

    It is of no use to who runs the graph, and tells on whose machine it was made.
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
    session = load_onnxruntime().InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = model(torch.from_numpy(pictures)).logits.softmax(-1).numpy()
    logits = torch.from_numpy(session.run(None, {"input_values": pictures})[0])
    return float(np.abs(logits.softmax(-1).numpy() - expected).max())


def read_settings(folder: Path) -> FeatureSettings:
    """The feature settings beside a model, or the defaults if there are none."""
    path = folder / FEATURES
    if not path.exists():
        return FeatureSettings()
    return FeatureSettings.from_dict(json.loads(path.read_text(encoding="utf-8")))
