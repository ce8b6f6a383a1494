"""The network: a convolution stem, then a small Vision Transformer over 16 tokens.

The stem makes it possible to train a transformer on such a small data set (Xiao et al. 2021, "Early
Convolutions Help Transformers See Better"). The transformer's blocks are those of Hugging Face
Transformers' ViT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.vit.modeling_vit import ViTLayer

from tinyast.features import audioset
from tinyast.model.configuration import TinyASTConfig
from tinyast.model.familiarity import Familiarity
from tinyast.model.mobilenet import HIDDEN, LAST, AudioSetHead, MobileNet, Stretch, cells


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


class MobileNetStem(nn.Module):
    """From a picture to tokens by a network that has heard AudioSet.

    (B, n_mels, n_frames) -> (B, T, D), with a token for each 32 bands and 32 columns of what the
    network is shown.
    """

    summary_size = 2 * LAST + HIDDEN

    def __init__(self, config: TinyASTConfig) -> None:
        super().__init__()
        rows, columns = config.stretched or (config.n_mels, config.n_frames)
        used = round(audioset.SPAN * rows / audioset.BANDS)
        self.stretch = (
            Stretch(config.n_mels, config.n_frames, rows, columns, used, audioset.FLOOR)
            if config.stretched
            else nn.Identity()
        )
        self.network = MobileNet()
        self.audioset = AudioSetHead()
        self.projection = nn.Linear(LAST, config.hidden_size)
        tokens = cells(rows) * cells(columns)
        self.position_embeddings = nn.Parameter(torch.zeros(1, tokens, config.hidden_size))

    def forward(self, input_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens; what the stem itself makes of the window, (B, 1280); logits of AudioSet's."""
        grid = self.network(self.stretch(input_values).unsqueeze(1))  # (B, 384, rows, columns)
        # Pooling, unlike a mean, stays in the layout that ONNX Runtime convolves in.
        by_column = nn.functional.avg_pool2d(grid, (grid.shape[2], 1)).squeeze(2)  # (B, 384, cols)
        mean = by_column.mean(2)
        hidden, logits = self.audioset(mean)
        summary = torch.cat([mean, by_column.amax(2), hidden], dim=1)
        tokens = self.projection(grid.flatten(2).transpose(1, 2)) + self.position_embeddings
        return tokens, summary, logits


@dataclass
class TinyASTOutput(SequenceClassifierOutput):
    """What the model says of sounds; the last two are None with the stem of versions 1 to 4."""

    embedding: Tensor | None = None  # (B, embedding_size), of mean 0 and covariance 1 in training
    audioset_logits: Tensor | None = None  # (B, 527), for a sigmoid each
    features: Tensor | None = None  # (B, width) given to the classifier, before they are scaled


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
        if isinstance(module, (TinyASTStem, MobileNetStem)):
            init.trunc_normal_(module.position_embeddings, std=self.config.initializer_range)


class TinyASTForAudioClassification(TinyASTPreTrainedModel):
    """Log-mel pictures in, one logit per kind of sound out."""

    def __init__(self, config: TinyASTConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.stem: TinyASTStem | MobileNetStem
        if config.stem == "mobilenet":
            self.stem = MobileNetStem(config)
            width = MobileNetStem.summary_size + 2 * config.hidden_size
            # The parts come in scales of their own.
            self.scaling = nn.BatchNorm1d(width, momentum=0.05, affine=False)
            self.embedding = nn.Linear(width, config.embedding_size)
            self.familiarity = Familiarity(config.num_labels, config.embedding_size)
        else:
            self.stem = TinyASTStem(config)
            self.rows = config.n_mels >> len(config.stem_channels)  # of tokens, from low to high
        self.blocks = nn.ModuleList(ViTLayer(config) for _ in range(config.num_hidden_layers))
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(width, config.num_labels)
        self.post_init()

    def forward(
        self, input_values: Tensor, labels: Tensor | None = None, **kwargs: Any
    ) -> TinyASTOutput:
        """`input_values` is (B, n_mels, n_frames) from `tinyast.features.log_mel.log_mel`.

        `labels`, if given, is (B,) class numbers or (B, num_labels) probabilities, and adds the
        cross-entropy as `loss`. Logits are (B, num_labels), already divided by the temperature;
        where the configuration says so, the best of them is how familiar the sound is.
        """
        if isinstance(self.stem, MobileNetStem):
            return self._hear(self.stem, input_values, labels)
        hidden = self._transform(self.stem(input_values))  # (B, 16, D)
        # Not normalised: token by token, silence would weigh as much as sound.
        pooled = pool(hidden.unflatten(1, (self.rows, -1)))  # type: ignore[no-untyped-call]
        logits = self.classifier(self.dropout(pooled))  # (B, num_labels)
        logits = logits / self.config.logit_temperature
        return TinyASTOutput(loss=_loss(logits, labels), logits=logits)

    def _hear(
        self, stem: MobileNetStem, input_values: Tensor, labels: Tensor | None
    ) -> TinyASTOutput:
        tokens, summary, audioset_logits = stem(input_values)
        hidden = self._transform(tokens)  # (B, T, D)
        features = torch.cat([summary, hidden.mean(1), hidden.amax(1)], dim=1)
        scaled = self.scaling(features)
        logits = self.classifier(self.dropout(scaled))
        embedding = self.embedding(scaled)
        if self.config.familiar_distance is not None and not self.training:
            # The same for all logits of a sound: scores stay as they are.
            distance = self.config.familiar_distance * self.familiarity(embedding)
            logits = logits - distance[:, None]
        logits = logits / self.config.logit_temperature
        return TinyASTOutput(
            loss=_loss(logits, labels),
            logits=logits,
            embedding=embedding,
            audioset_logits=audioset_logits,
            features=features,
        )

    def _transform(self, hidden: Tensor) -> Tensor:
        """Tokens through the transformer's blocks, (B, T, D)."""
        for number, block in enumerate(self.blocks, start=1):
            rate = self.config.drop_path * number / len(self.blocks)
            hidden = drop_path(hidden, block(hidden), rate if self.training else 0.0)
        return hidden


def _loss(logits: Tensor, labels: Tensor | None) -> Tensor | None:
    return None if labels is None else nn.functional.cross_entropy(logits, labels)


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
