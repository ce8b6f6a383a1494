"""From a trained model to a checkpoint folder that the daemon and Transformers both read."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import torch

from tinyast.arrays import Float
from tinyast.data.atomic import replacing
from tinyast.errors import CheckpointError, TinyASTError
from tinyast.export.feature_graph import write_feature_graphs
from tinyast.export.int8 import write_int8
from tinyast.export.onnx_graph import parity, write_graph
from tinyast.features.graph import graph_name, graph_rates
from tinyast.features.log_mel import FeatureSettings
from tinyast.inference.checkpoint import (
    CONFIG,
    FEATURES,
    GRAPH,
    INT8_GRAPH,
    REFERENCE,
    SUMS,
    WEIGHTS,
    damaged_files,
    read_checkpoint,
    sums_of,
)
from tinyast.model.feature_extraction import TinyASTFeatureExtractor
from tinyast.model.modeling import TinyASTForAudioClassification

PARITY = 1e-4  # largest difference between scores of the graph and of the model


class ExportError(TinyASTError):
    """A checkpoint could not be written as it should be."""


def export(
    model: TinyASTForAudioClassification,
    settings: FeatureSettings,
    folder: Path,
    version: str = "0",
    pictures: Float | None = None,
) -> float:
    """Write all files of a checkpoint to `folder` and return the largest difference of scores.

    A graph in int8 is among them if there are `pictures`, (n, n_mels, n_frames), to fit it to; a
    model card that `folder` has stays as it is. Everything is made and checked in a folder beside
    it first, so a failure leaves `folder` as it was. Raises ExportError if the graph's scores
    stray from the model's by `PARITY` or more.
    """
    model = model.eval().to("cpu", torch.float32)
    model.config.name, model.config.version = folder.name, version
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as name:
        made = Path(name)
        model.save_pretrained(made)
        TinyASTFeatureExtractor(**settings.to_dict()).save_pretrained(made)
        write_feature_graphs(settings, made)
        write_graph(model, made / GRAPH)
        difference = parity(model, made / GRAPH)
        if difference >= PARITY:
            raise ExportError(f"scores of the ONNX graph differ from torch by {difference:.1e}")
        if pictures is not None:
            write_int8(made / GRAPH, pictures, made / INT8_GRAPH)
        write_sums(made, settings)
        folder.mkdir(exist_ok=True)
        for path in sorted(made.iterdir()):
            path.chmod(0o644)  # safetensors writes for its owner alone
            os.replace(path, folder / path.name)
        (folder / REFERENCE).unlink(missing_ok=True)  # of another model, as is
        if pictures is None:
            (folder / INT8_GRAPH).unlink(missing_ok=True)
    return difference


def add_features(folder: Path) -> None:
    """Write the feature graphs of the checkpoint in `folder`, which was made without them.

    Raises CheckpointError if it is no checkpoint, or one whose other files are damaged.
    """
    settings = read_checkpoint(folder).features
    graphs = {graph_name(rate) for rate in graph_rates(settings)}
    damaged = damaged_files(folder) if (folder / SUMS).exists() else []
    if others := sorted(set(damaged) - graphs):
        raise CheckpointError(
            f"{', '.join(others)} of {folder} differ from {SUMS}; export the checkpoint again"
        )
    write_feature_graphs(settings, folder)
    write_sums(folder, settings)


def write_sums(folder: Path, settings: FeatureSettings) -> None:
    """Write SHA256SUMS for the files that a checkpoint runs on; `sha256sum -c` reads it too."""
    graphs = map(graph_name, graph_rates(settings))
    parts = CONFIG, FEATURES, *graphs, GRAPH, INT8_GRAPH, WEIGHTS, REFERENCE
    text = sums_of(folder, (name for name in parts if (folder / name).is_file()))
    with replacing(folder / SUMS) as part:
        part.write_text(text, encoding="utf-8")


def read_settings(folder: Path) -> FeatureSettings:
    """The feature settings beside a model, else the defaults."""
    path = folder / FEATURES
    if not path.exists():
        return FeatureSettings()
    return FeatureSettings.from_dict(json.loads(path.read_text(encoding="utf-8")))
