"""The pictures of the models that ship."""

from __future__ import annotations

from tinyast.features.log_mel import FeatureSettings

# 5 s at 16 kHz, 25 ms every 10 ms, 128 bands: what mn04 was trained on, but for what is over 8 kHz.
FINE = FeatureSettings(n_fft=512, hop_length=160, pool=1, n_mels=128, scale="audioset")
# The same in 64 bands and 64 columns of unequal width.
SMALL = FeatureSettings(n_fft=512, hop_length=160, pool=1, n_mels=64, scale="audioset", columns=64)
SLANEY = FeatureSettings()  # versions 1 to 4
PRESETS = {"fine": FINE, "small": SMALL, "slaney": SLANEY}
