"""The model's input, by Hugging Face's conventions: `preprocessor_config.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from transformers import BatchFeature, SequenceFeatureExtractor

from tinyast.arrays import Float
from tinyast.features.log_mel import FeatureSettings, log_mel


class TinyASTFeatureExtractor(SequenceFeatureExtractor):
    """Samples to log-mel pictures, by `tinyast.features.log_mel` alone.

    Takes the numbers of a `FeatureSettings` by name. A clip shorter than the model's window is
    zero-padded at its end. Of a longer one the first window is taken, as the daemon's first
    prediction for such a file has it; cut it into windows to hear the rest.
    """

    model_input_names: ClassVar[list[str]] = ["input_values"]

    def __init__(self, **kwargs: Any) -> None:
        self.settings = FeatureSettings.from_dict(kwargs)
        ours = self.settings.to_dict()
        others = {key: value for key, value in kwargs.items() if key not in ours}
        for key in ("feature_size", "sampling_rate", "padding_value"):
            others.pop(key, None)
        super().__init__(
            feature_size=self.settings.n_mels,
            sampling_rate=self.settings.sampling_rate,
            padding_value=0.0,
            **others,
        )

    def __call__(
        self,
        raw_speech: Float | Sequence[float] | Sequence[Float],
        sampling_rate: int | None = None,
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """One clip (n,) or several, mono, full scale at 1, as `input_values` (B, n_mels, n_frames).

        The argument has the name that Transformers' own extractors give it. Raises ValueError for
        a `sampling_rate` other than the model's, for more than one channel, and for no samples.
        """
        if sampling_rate not in (None, self.settings.sampling_rate):
            raise ValueError(
                f"the model hears {self.settings.sampling_rate} Hz, not {sampling_rate} Hz: "
                "resample the clip first"
            )
        several = isinstance(raw_speech, (list, tuple)) and np.ndim(raw_speech[0]) > 0
        several = several or (isinstance(raw_speech, np.ndarray) and raw_speech.ndim > 1)
        clips = raw_speech if several else [raw_speech]
        pictures = np.stack([self._picture(np.asarray(clip, dtype=np.float32)) for clip in clips])
        return BatchFeature({"input_values": pictures}, tensor_type=return_tensors)

    def to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = super().to_dict()
        values.pop("settings", None)
        return values | self.settings.to_dict()

    def _picture(self, samples: Float) -> Float:
        if samples.ndim != 1 or not len(samples):
            raise ValueError(f"expected the samples of one channel, got an array {samples.shape}")
        return log_mel(samples[: self.settings.n_samples], self.settings)
