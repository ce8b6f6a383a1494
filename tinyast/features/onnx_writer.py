"""Writing a graph of operators as an ONNX file, in memory.

What is made when a program starts cannot wait for the `onnx` package, which takes as long to import
as all else that the daemon needs. The few messages of `onnx.proto` that a graph without
subgraphs consists of are written here, in the encoding of Protocol Buffers; the tests have the
`onnx` package read and check them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

OPSET, IR_VERSION = 18, 9
_TYPES = {"float32": 1, "int64": 7}  # TensorProto.DataType
_INT, _INTS = 2, 7  # AttributeProto.AttributeType

Shapes = dict[str, Sequence[int]]  # of tensors, by name


class Graph:
    """Operators that follow each other; every value has a name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._values = 0
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []

    def constant(self, values: ArrayLike, kind: str = "float32") -> str:
        """A constant tensor of `kind`, a numpy type's name."""
        name, tensor = self._fresh(), np.asarray(values, kind)
        self._constants.append(
            b"".join(_number(1, size) for size in tensor.shape)
            + _number(2, _TYPES[kind])
            + _text(8, name)
            + _bytes(9, tensor.astype(tensor.dtype.newbyteorder("<")).tobytes())
        )
        return name

    def add(self, operator: str, *inputs: str, **attributes: int | Sequence[int]) -> str:
        """What `operator` of the default domain makes of values by these names: its one output."""
        name = self._fresh()
        self._nodes.append(
            b"".join(_text(1, value) for value in inputs)
            + _text(2, name)
            + _text(4, operator)
            + b"".join(_bytes(5, _attribute(*given)) for given in attributes.items())
        )
        return name

    def cut(self, value: str, axis: int, start: int, end: int) -> str:
        """What `value` holds along `axis` from `start` up to, and without, `end`."""
        bounds = (self.constant([number], "int64") for number in (start, end, axis))
        return self.add("Slice", value, *bounds)

    def shaped(self, value: str, *shape: int) -> str:
        """`value` in another shape; -1 is whatever is left."""
        return self.add("Reshape", value, self.constant(shape, "int64"))

    def to_bytes(self, inputs: Shapes, outputs: Shapes) -> bytes:
        """The file; what goes in and comes out is of float32."""
        graph = (
            b"".join(_bytes(1, node) for node in self._nodes)
            + _text(2, self._name)
            + b"".join(_bytes(5, tensor) for tensor in self._constants)
            + b"".join(_bytes(11, _value(name, shape)) for name, shape in inputs.items())
            + b"".join(_bytes(12, _value(name, shape)) for name, shape in outputs.items())
        )
        return _number(1, IR_VERSION) + _bytes(7, graph) + _bytes(8, _number(2, OPSET))

    def _fresh(self) -> str:
        self._values += 1
        return f"v{self._values}"


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    if isinstance(value, int):
        return _text(1, name) + _number(3, value) + _number(20, _INT)
    return _text(1, name) + b"".join(_number(8, one) for one in value) + _number(20, _INTS)


def _value(name: str, shape: Sequence[int]) -> bytes:
    """ValueInfoProto of a float32 tensor."""
    sizes = b"".join(_bytes(1, _number(1, size)) for size in shape)
    tensor = _number(1, _TYPES["float32"]) + _bytes(2, sizes)
    return _text(1, name) + _bytes(2, _bytes(1, tensor))


# Protocol Buffers: a key (field number, wire type), then a varint or a length and so many bytes.


def _varint(number: int) -> bytes:
    number &= 2**64 - 1  # of negative numbers, the two's complement
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _number(field: int, value: Any) -> bytes:
    return _varint(field << 3) + _varint(int(value))


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())
