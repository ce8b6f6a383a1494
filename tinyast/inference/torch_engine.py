"""The reference engine: the Hugging Face model itself, in torch."""

from __future__ import annotations

import numpy as np
import torch

from tinyast.arrays import Float
from tinyast.inference.checkpoint import Checkpoint
from tinyast.model.modeling import TinyASTForAudioClassification


class TorchEngine:
    """`model.safetensors` in torch, on CPU."""

    name = "torch"

    def __init__(self, checkpoint: Checkpoint, sha256: str) -> None:
        self.sha256 = sha256
        self._model = TinyASTForAudioClassification.from_pretrained(checkpoint.path).eval()

    def logits(self, batch: Float) -> Float:
        with torch.inference_mode():
            logits = self._model(input_values=torch.from_numpy(batch)).logits
        result: Float = logits.numpy().astype(np.float32)
        return result
