"""The reference engine: the Hugging Face model itself, in torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tinyast.arrays import Float
from tinyast.inference.checkpoint import Checkpoint
from tinyast.inference.engine_names import AUDIOSET, EMBEDDING, LOGITS
from tinyast.model.modeling import TinyASTForAudioClassification


class TorchEngine:
    """`model.safetensors` in torch, on CPU."""

    name = "torch"

    def __init__(self, checkpoint: Checkpoint, sha256: str) -> None:
        self.sha256 = sha256
        self._model = TinyASTForAudioClassification.from_pretrained(checkpoint.path).eval()
        config = self._model.config
        picture = np.zeros((1, config.n_mels, config.n_frames), np.float32)
        self.outputs = tuple(self._all(picture))

    def logits(self, batch: Float) -> Float:
        return self.run(batch, (LOGITS,))[0]

    def run(self, batch: Float, outputs: Sequence[str]) -> list[Float]:
        made = self._all(batch)
        return [made[name].numpy().astype(np.float32) for name in outputs]

    def _all(self, batch: Float) -> dict[str, Tensor]:
        """What the model gives, under the names that its graph has for it."""
        with torch.inference_mode():
            made = self._model(input_values=torch.from_numpy(batch))
        named = {LOGITS: made.logits}
        if getattr(made, "embedding", None) is not None:
            named[EMBEDDING] = made.embedding
        if getattr(made, "audioset_logits", None) is not None:
            named[AUDIOSET] = made.audioset_logits.sigmoid()
        return named
