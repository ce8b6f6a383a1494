"""Register TinyAST with Transformers' Auto classes and pipelines.

import tinyast.hf
from transformers import pipeline
classify = pipeline("audio-classification", model="tinyast/checkpoints/esc50")
classify({"raw": samples, "sampling_rate": 44_100})
"""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers import (
    AudioClassificationPipeline,
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
)
from transformers.pipelines import PIPELINE_REGISTRY

from tinyast.audio.decoding import check_rate
from tinyast.audio.resampling import resample
from tinyast.features.offset import without_offset
from tinyast.model.configuration import TinyASTConfig
from tinyast.model.feature_extraction import TinyASTFeatureExtractor
from tinyast.model.modeling import TinyASTForAudioClassification

__all__ = [
    "TinyASTConfig",
    "TinyASTFeatureExtractor",
    "TinyASTForAudioClassification",
    "TinyASTPipeline",
]


class TinyASTPipeline(AudioClassificationPipeline):
    """Transformers' own pipeline, except that it resamples for TinyAST as the daemon does.

    The original needs torchaudio for this; for models of others it is unchanged.
    """

    def preprocess(self, inputs: Any) -> Any:
        """The original's, after resampling of `{"raw": samples, "sampling_rate": rate}`.

        Raises AudioError for a rate that the daemon refuses.
        """
        if isinstance(self.feature_extractor, TinyASTFeatureExtractor):
            inputs = self._resampled(inputs)
        return super().preprocess(inputs)

    def _resampled(self, inputs: Any) -> Any:
        name = "raw" if isinstance(inputs, dict) and "raw" in inputs else "array"
        if not (isinstance(inputs, dict) and name in inputs and "sampling_rate" in inputs):
            return inputs
        rate, target = int(inputs["sampling_rate"]), self.feature_extractor.sampling_rate
        samples = np.asarray(inputs[name], dtype=np.float32)
        if rate == target or samples.ndim != 1:  # the original names the valid inputs
            return inputs
        check_rate(rate)
        window = round(self.feature_extractor.settings.window_s * rate)
        heard = resample(without_offset(samples[:window]), rate, target)
        return {**inputs, name: heard, "sampling_rate": target}


AutoConfig.register("tinyast", TinyASTConfig, exist_ok=True)
AutoFeatureExtractor.register(TinyASTConfig, TinyASTFeatureExtractor, exist_ok=True)
AutoModelForAudioClassification.register(
    TinyASTConfig, TinyASTForAudioClassification, exist_ok=True
)
PIPELINE_REGISTRY.supported_tasks["audio-classification"]["impl"] = TinyASTPipeline
