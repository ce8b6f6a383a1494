"""The network: a convolution stem, then a small Vision Transformer over 16 tokens.

The stem makes it possible to train a transformer on such a small data set (Xiao et al. 2021, "Early
Convolutions Help Transformers See Better"). The transformer's blocks are those of Hugging Face
Transformers' ViT.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.vit.modeling_vit import ViTLayer

from tinyast.model.configuration import TinyASTConfig


def conv(inputs: int, outputs: int, halve: bool) -> nn.Sequential:
    """3x3 convolution, batch normalisation, ReLU: (B, inputs, H, W) -> (B, outputs, H, W).

    With `halve`, it keeps the largest of each 2x2 cells, (B, outputs, H/2, W/2). Pooling first
    leaves a quarter of the work for the following steps.
    """
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)]
    if halve:
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class TinyASTStem(nn.Module):
    """From a picture to tokens: (B, n_mels, n_frames) -> (B, n_mels/16 * n_frames/16, D)."""

    def __init__(self, config: TinyASTConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, last = 1, len(config.stem_channels)
        for stage, outputs in enumerate([*config.stem_channels, config.hidden_size]):
            depth = config.stem_depths[stage]
            for number in range(1, depth + 1):
                halve = number == depth and stage < last
                layers.append(conv(channels, outputs, halve))
                channels = outputs
        # As shipped: (B, 32, 32, 32), (B, 64, 16, 16), (B, 128, 8, 8), (B, D, 4, 4)
        self.layers = nn.Sequential(*layers)
        tokens = (config.n_mels >> last) * (config.n_frames >> last)
        self.position_embeddings = nn.Parameter(torch.zeros(1, tokens, config.hidden_size))

    def forward(self, input_values: Tensor) -> Tensor:
        # Channels last is the faster layout for small convolutions on a CPU.
        picture = input_values.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        tokens: Tensor = self.layers(picture)  # (B, D, 4, 4)
        return tokens.flatten(2).transpose(1, 2) + self.position_embeddings  # (B, 16, D)


class TinyASTPreTrainedModel(PreTrainedModel):
    config_class = TinyASTConfig
    base_model_prefix = "tinyast"
    main_input_name = "input_values"
    input_modalities = ("audio",)
    _supports_sdpa = True
    _supports_attention_backend = True
    _no_split_modules: ClassVar[list[str]] = ["ViTLayer"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):  # He et al. 2015, as in residual networks
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, TinyASTStem):
            init.trunc_normal_(module.position_embeddings, std=self.config.initializer_range)


class TinyASTForAudioClassification(TinyASTPreTrainedModel):
    """Log-mel pictures in, one logit per kind of sound out."""

    def __init__(self, config: TinyASTConfig) -> None:
        super().__init__(config)
        self.stem = TinyASTStem(config)
        self.blocks = nn.ModuleList(ViTLayer(config) for _ in range(config.num_hidden_layers))
        self.rows = config.n_mels >> len(config.stem_channels)  # of tokens, from low to high
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self, input_values: Tensor, labels: Tensor | None = None, **kwargs: Any
    ) -> SequenceClassifierOutput:
        """`input_values` is (B, n_mels, n_frames) from `tinyast.features.log_mel.log_mel`.

        `labels`, if given, is (B,) class numbers or (B, num_labels) probabilities, and adds the
        cross-entropy as `loss`. Logits are (B, num_labels), already divided by the temperature.
        """
        hidden = self.stem(input_values)  # (B, 16, D)
        for number, block in enumerate(self.blocks, start=1):
            rate = self.config.drop_path * number / len(self.blocks)
            hidden = drop_path(hidden, block(hidden), rate if self.training else 0.0)  # (B, 16, D)
        # Not normalised: token by token, silence would weigh as much as sound.
        pooled = pool(hidden.unflatten(1, (self.rows, -1)))  # (B, D)
        logits = self.classifier(self.dropout(pooled))  # (B, num_labels)
        logits = logits / self.config.logit_temperature
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def pool(grid: Tensor) -> Tensor:
    """Tokens (B, rows, columns, D) to (B, D): mean plus maximum over the bands.

    After PANNs (Kong et al. 2020), with the axes the other way round.
    """
    bands = grid.mean(dim=2)  # (B, rows, D)
    return bands.mean(dim=1) + bands.amax(dim=1)


def drop_path(before: Tensor, after: Tensor, rate: float) -> Tensor:
    """Let a block's work through for a random part of the batch, scaled so its mean is kept."""
    if rate == 0:
        return after
    keep = torch.rand(len(before), 1, 1, device=before.device) >= rate
    return before + (after - before) * keep / (1 - rate)
