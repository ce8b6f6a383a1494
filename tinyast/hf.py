"""Register TinyAST with Transformers' Auto classes and pipelines.

import tinyast.hf
from transformers import pipeline
classify = pipeline("audio-classification", model="tinyast/checkpoints/esc50")
classify({"raw": samples, "sampling_rate": 16_000})
"""

from __future__ import annotations

from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification

from tinyast.model.configuration import TinyASTConfig
from tinyast.model.feature_extraction import TinyASTFeatureExtractor
from tinyast.model.modeling import TinyASTForAudioClassification

__all__ = ["TinyASTConfig", "TinyASTFeatureExtractor", "TinyASTForAudioClassification"]

AutoConfig.register("tinyast", TinyASTConfig, exist_ok=True)
AutoFeatureExtractor.register(TinyASTConfig, TinyASTFeatureExtractor, exist_ok=True)
AutoModelForAudioClassification.register(
    TinyASTConfig, TinyASTForAudioClassification, exist_ok=True
)
