"""Building an ONNX graph operator by operator, for steps that no torch module holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 18, 9  # read by every ONNX Runtime since 1.14

Shapes = Mapping[str, Sequence[int]]  # of float32 tensors, by name


class GraphWriter:
    """Collects operators in their order of execution; every value has a name."""

    def __init__(self) -> None:
        self._values = 0
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, values: ArrayLike, kind: str = "float32") -> str:
        """A constant tensor of `kind`, a numpy type's name."""
        name = self._fresh()
        self._constants.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: int | Sequence[int]) -> str:
        """Apply `operator` of the default domain to the values so named; gives its one output."""
        name = self._fresh()
        self._nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def cut(self, value: str, axis: int, start: int, end: int) -> str:
        """What `value` holds along `axis` from `start` up to, and without, `end`."""
        bounds = (self.constant([number], "int64") for number in (start, end, axis))
        return self.add("Slice", value, *bounds)

    def shaped(self, value: str, *shape: int) -> str:
        """`value` in another shape; -1 stands for the remaining size."""
        return self.add("Reshape", value, self.constant(shape, "int64"))

    def model(
        self, name: str, inputs: Shapes, outputs: Shapes, notes: Mapping[str, str]
    ) -> onnx.ModelProto:
        """The whole graph, checked; `notes` are kept as its metadata."""
        graph = helper.make_graph(
            self._nodes, name, _values(inputs), _values(outputs), self._constants
        )
        made = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        helper.set_model_props(made, dict(notes))
        onnx.checker.check_model(made, full_check=True)
        return made

    def _fresh(self) -> str:
        self._values += 1
        return f"v{self._values}"


def _values(shapes: Shapes) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
