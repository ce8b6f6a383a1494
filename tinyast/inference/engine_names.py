"""The engines that can run the model, by name; without numpy, for command lines and settings."""

from __future__ import annotations

from typing import Literal, get_args

EngineName = Literal["onnx", "int8", "torch"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)

# "auto" stands for onnx or int8, as `tinyast.inference.choice` finds.
EngineChoice = Literal["auto", "onnx", "int8", "torch"]

# What a graph gives for a batch of n pictures.
LOGITS = "logits"  # (n, labels), calibrated
EMBEDDING = "embedding"  # (n, d), the same for similar sounds
AUDIOSET = "audioset"  # (n, 527), scores of AudioSet's classes, 0 to 1 each
SPEECH = 0  # place of the class "Speech" among those (class_labels_indices.csv of AudioSet)
