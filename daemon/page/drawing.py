"""Draw a window as the model sees it: its log-mel spectrogram as a greyscale PNG."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tinyast.arrays import Float
from tinyast.audio.resampling import resample
from tinyast.features import picture
from tinyast.features.log_mel import FeatureSettings, log_mel
from tinyast.inference.checkpoint import read_checkpoint


@lru_cache(maxsize=1)
def _settings() -> FeatureSettings:
    return read_checkpoint(None).features


def draw(samples: Float, rate: int) -> bytes:
    """The picture of mono `samples`, (n,) at `rate` Hz, as a PNG; low bands at the bottom."""
    settings = _settings()
    heard = resample(samples, rate, settings.sampling_rate)[: settings.n_samples]
    heard = np.pad(heard, (0, settings.n_samples - len(heard)))
    return picture.draw(log_mel(heard, settings), settings).png
