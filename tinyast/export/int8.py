"""Quantise a float32 graph to int8: a separate file, faster on processors with VNNI.

Static quantisation (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference"): weights per channel, activations over their
range on a few real clips. The first convolution stays in float32: with a single input channel int8
is no faster there, and it loses most accuracy.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from tinyast.arrays import Float
from tinyast.data.datasets import Dataset
from tinyast.data.spectrograms import load_clip
from tinyast.errors import DataError
from tinyast.export.onnx_graph import strip
from tinyast.features.log_mel import FeatureSettings, log_mel

CLIPS = 128  # more make no difference


def calibration_pictures(dataset: Dataset, settings: FeatureSettings) -> Float:
    """Pictures of up to `CLIPS` clips of all kinds, (clips, n_mels, n_frames).

    For figures, `dataset` must not contain the clips that the graph is tested on. Raises DataError
    if there is no clip, or one cannot be read.
    """
    if not len(dataset):
        raise DataError("no clips to quantise with")
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(CLIPS, len(dataset))).astype(int))
    return np.stack([log_mel(load_clip(dataset.paths[i], settings), settings) for i in chosen])


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, pictures: Float) -> None:
        self._left: Iterator[Float] = iter(pictures)

    def get_next(self) -> dict[str, Float] | None:
        picture = next(self._left, None)
        return None if picture is None else {"input_values": picture[None]}


def write_int8(graph: Path, pictures: Float, target: Path) -> None:
    """Write `graph` in int8 to `target`, its ranges taken from `pictures` (n, n_mels, n_frames)."""
    logging.getLogger().setLevel(logging.ERROR)  # it warns of its own default steps
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(graph), str(prepared), skip_symbolic_shape=True)
        nodes = onnx.load(prepared).graph.node
        first = next(node.name for node in nodes if node.op_type == "Conv")
        quantize_static(
            str(prepared),
            str(target),
            _Pictures(pictures),
            quant_format=QuantFormat.QDQ,
            nodes_to_exclude=[first],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Seven bits of weight: without VNNI, x86 adds two products in 16 bits, and eight would
            # saturate there (5.6 points of accuracy, see docs/model.md).
            reduce_range=True,
        )
    strip(target)
