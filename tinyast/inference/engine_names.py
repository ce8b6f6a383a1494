"""The engines that can run the model, by name; without numpy, for command lines and settings."""

from __future__ import annotations

from typing import Literal, get_args

EngineName = Literal["onnx", "int8", "torch"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)

# "auto" stands for onnx or int8, as `tinyast.inference.choice` finds.
EngineChoice = Literal["auto", "onnx", "int8", "torch"]
