"""PANNs in their published layer sizes, for timing; random weights give meaningless scores.

Kong et al. 2020, "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern
Recognition": Cnn14 (table 1) and MobileNetV2 (section III.B; Sandler et al. 2018, table 2, with an
average pooling instead of each stride), on 64 mel bands at 32 kHz, windows of 1,024 samples every
320, 527 classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from tinyast.features.log_mel import FeatureSettings, mel_filterbank

RATE, WINDOW, HOP, BANDS, CLASSES = 32_000, 1_024, 320, 64, 527
CNN14 = (64, 128, 256, 512, 1024, 2048)  # channels, of two convolutions each
# Expansion, channels, repeats and pooling of each group of inverted residuals.
MOBILE = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
    (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


def log_mel(samples: Tensor) -> Tensor:
    """(n,) at 32 kHz to (1, 1, frames, 64)."""
    window = torch.hann_window(WINDOW)
    spectrum = torch.stft(samples, WINDOW, HOP, window=window, return_complex=True)
    settings = FeatureSettings(sampling_rate=RATE, n_fft=WINDOW, n_mels=BANDS, fmax=14_000.0)
    mel = torch.from_numpy(mel_filterbank(settings)) @ spectrum.abs().square()
    return mel.clamp(min=1e-10).log10().mul(10).T[None, None]


def _pool(features: Tensor) -> Tensor:
    """(1, channels, frames, bands) to (1, channels): over bands, then the best and the mean."""
    over_time = features.mean(dim=3)
    return over_time.amax(dim=2) + over_time.mean(dim=2)


class Cnn14(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        given = 1
        for index, channels in enumerate(CNN14):
            for _ in range(2):
                layers += [
                    nn.Conv2d(given, channels, 3, padding=1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(),
                ]
                given = channels
            if index < len(CNN14) - 1:
                layers.append(nn.AvgPool2d(2))
        self.norm = nn.BatchNorm2d(BANDS)
        self.body = nn.Sequential(*layers)
        self.hidden, self.out = nn.Linear(given, given), nn.Linear(given, CLASSES)

    def forward(self, picture: Tensor) -> Tensor:
        """(1, 1, frames, 64) to scores, (1, 527)."""
        normed = self.norm(picture.transpose(1, 3)).transpose(1, 3)
        return torch.sigmoid(self.out(relu(self.hidden(_pool(self.body(normed))))))


class _Inverted(nn.Module):
    def __init__(self, given: int, expansion: int, channels: int, pool: int) -> None:
        super().__init__()
        wide = given * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [nn.Conv2d(given, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()]
        layers.append(nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False))
        if pool > 1:
            layers.append(nn.AvgPool2d(pool))
        layers += [nn.BatchNorm2d(wide), nn.ReLU6()]
        layers += [nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels)]
        self.body = nn.Sequential(*layers)
        self.residual = pool == 1 and given == channels

    def forward(self, features: Tensor) -> Tensor:
        made: Tensor = self.body(features)
        return features + made if self.residual else made


class MobileNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.AvgPool2d(2), nn.BatchNorm2d(32),
            nn.ReLU6(),
        ]  # fmt: skip
        given = 32
        for expansion, channels, repeats, pool in MOBILE:
            for index in range(repeats):
                layers.append(_Inverted(given, expansion, channels, pool if index == 0 else 1))
                given = channels
        layers += [nn.Conv2d(given, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6()]
        self.norm = nn.BatchNorm2d(BANDS)
        self.body = nn.Sequential(*layers)
        self.hidden, self.out = nn.Linear(1280, 1024), nn.Linear(1024, CLASSES)

    def forward(self, picture: Tensor) -> Tensor:
        """(1, 1, frames, 64) to scores, (1, 527)."""
        normed = self.norm(picture.transpose(1, 3)).transpose(1, 3)
        return torch.sigmoid(self.out(relu(self.hidden(_pool(self.body(normed))))))
