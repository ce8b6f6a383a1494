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
from contextlib import contextmanager
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


@contextmanager
def _without_warnings() -> Iterator[None]:
    """The quantiser warns about its default steps."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def write_int8(graph: Path, pictures: Float, target: Path) -> None:
    """Write `graph` in int8 to `target`, its ranges taken from `pictures` (n, n_mels, n_frames)."""
    with _without_warnings(), tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(graph), str(prepared), skip_symbolic_shape=True)
        graph_of = onnx.load(prepared).graph
        quantize_static(
            str(prepared),
            str(target),
            _Pictures(pictures),
            quant_format=QuantFormat.QDQ,
            nodes_to_exclude=_in_float32(graph_of),
            op_types_to_quantize=_quantised(graph_of),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Seven bits of weight: without VNNI, x86 adds two products in 16 bits, and eight would
            # saturate there (5.6 points of accuracy, see docs/model-log.md).
            reduce_range=True,
        )
    strip(target)


EARLY = 20  # convolutions of a MobileNet whose pictures are large and whose channels are few


def _in_float32(graph: onnx.GraphProto) -> list[str]:
    """Names of the operators that lose more in bytes than they gain.

    Of a plain network the first convolution. Of a MobileNet also the convolutions of each channel
    by itself, the early ones, the matrices that stretch the picture and those of familiarity, and
    products of two activations.
    """
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    if not _is_mobile(graph):
        return [convolutions[0].name]
    kept = [node.name for node in convolutions if _groups(node) > 1]
    kept += [node.name for node in convolutions[:EARLY]]
    weights = {tensor.name for tensor in graph.initializer}
    order = [node.op_type for node in graph.node]
    begin, head = order.index("Conv"), order.index("BatchNormalization")
    for place, node in enumerate(graph.node):
        outside = place < begin or place > head
        if node.op_type == "MatMul" and (outside or not weights & set(node.input)):
            kept.append(node.name)
    return kept


def _quantised(graph: onnx.GraphProto) -> list[str] | None:
    """Kinds of operators that go into bytes; None stands for all that can."""
    return ["Conv", "Gemm", "MatMul"] if _is_mobile(graph) else None


def _is_mobile(graph: onnx.GraphProto) -> bool:
    return any(_groups(node) > 1 for node in graph.node if node.op_type == "Conv")


def _groups(node: onnx.NodeProto) -> int:
    return next((given.i for given in node.attribute if given.name == "group"), 1)
